//! The whole from outside, on real processes. Where a new test goes:
//!
//! - `token`: RL.TOKEN as a client sees it: every field of its reply, every option
//! - `leaky`: RL.LEAKY likewise, and what differs
//! - `peek`: RL.PEEK
//! - `info`: RL.INFO
//! - `multi`: RL.MULTI: all or nothing
//! - `throttle`: RL.THROTTLE and CL.THROTTLE, and what redis-cell left
//! - `corpus`: what fuzzing found worth keeping, replayed
//! - `errors`: every error reply, word for word, in one table
//! - `history`: many callers' calls, recorded and checked by the promises alone
//! - `hostile`: input that means harm, in every place
//! - `clocks`: clocks that are set forward and back, of one server and of one that is promoted
//! - `keys`: types, names, expiry, watchers, transactions and scripts
//! - `server`: what the server tells of us: COMMAND, ACL, INFO, MODULE
//! - `leaks`: nothing leaked and nothing touched that is not ours, by valgrind and by the address sanitizer
//! - `memory`: bytes per key, a million callers, eviction, no memory left
//! - `persistence`: RDB and AOF, with and without the module
//! - `replication`: what reaches a replica, and what does not
//! - `listeners`: what is left out while nobody listens is missed by nobody who begins to
//! - `concurrency`: many clients on one key
//! - `cluster`: three primaries and three replicas: redirections, slots that move, failovers
//! - `sentinel`: failovers by Sentinel
//! - `http`: /token and /leaky: statuses, headers, bodies, flags, the end
//! - `caller`: whose address counts: peers, proxies, what clients make up
//! - `headers`: what answers say in headers and bodies: numbers, problems, CORS
//! - `questions`: what programs ask on behalf of others: key, cost, rate, burst
//! - `proxies`: behind a real nginx, configured as server/README.md says, and behind two in a row
//! - `serving`: connections: time-outs, bounds, how many, the end
//! - `crowds`: a thousand slow clients, ten thousand connections, a million callers
//! - `flood`: one address that sends as much as it can, and others beside it
//! - `shaping`: answers that wait for their turn
//! - `operations`: health and the log
//! - `metrics`: what is counted, the board
//! - `deployment`: the unit for systemd and the Dockerfile
//! - `outage`: Redis gone, stopped, back, or turning everybody away; the three ways to do without it
//! - `once`: what was sent to Redis is never sent again
//! - `shifted_replies`: one reply of Redis too many
//! - `failover`: rl-server while a primary of a cluster or of Sentinels is killed, and while slots move
//! - `redis_addresses`: the forms of -redis, TLS, users and their rights
//! - `deny_cache`: denials that are remembered
//! - `page`: the page at /, in a real browser
//! - `run`: `make run`
//! - `readme`: the README files: examples print what is shown, links lead somewhere, tables are complete
//! - `layers`: who may depend on what, and which file may be unsafe

mod caller;
mod clocks;
mod cluster;
mod concurrency;
mod corpus;
mod crowds;
mod deny_cache;
mod deployment;
mod errors;
mod failover;
mod flood;
mod headers;
mod history;
mod hostile;
mod http;
mod info;
mod keys;
mod layers;
mod leaks;
mod leaky;
mod listeners;
mod memory;
mod metrics;
mod multi;
mod once;
mod operations;
mod outage;
mod page;
mod peek;
mod persistence;
mod proxies;
mod questions;
mod readme;
mod redis_addresses;
mod replication;
mod run;
mod sentinel;
mod server;
mod serving;
mod shaping;
mod shifted_replies;
mod throttle;
mod token;
