//! End-to-end tests on real processes. Each suite, with its subject:

mod allocations; // memory that rl-server allocates for a request
mod callbacks; // another module that changes keys while our commands run
mod caller; // the client address: peers, trusted proxies, spoofed headers
mod capacity; // capacity planning: the figures of capacity.md, and a simulation of failovers and hot keys
mod clients; // the programs of tests/clients: pacing, lost replies, outages, a cluster
mod clocks; // clocks that step forward and back, on one server and on a promoted replica
mod cluster; // three primaries and three replicas: redirections, slots that move, failovers
mod coalescing; // requests of one caller that share calls
mod concurrency; // many clients on one key
mod corpus; // the inputs that the fuzzers saved, replayed
mod crowds; // a thousand slow clients, ten thousand connections, a million callers
mod deny_cache; // -deny-cache
mod deployment; // the systemd unit, the Dockerfile, and the examples for Compose and Kubernetes
mod errors; // the full text of every error reply, in one table
mod events; // the keyspace events of each change
mod exporter; // INFO rl, as redis_exporter reads it
mod failover; // rl-server while a primary of a cluster or of Sentinels is killed, and while slots move
mod flood; // one address that sends as much as it can, and 200 other addresses
mod headers; // headers and bodies of answers: numbers, problem details, CORS
mod history; // recorded calls of many callers, checked against the promises
mod hostile; // malformed and extreme arguments, keys and stored bytes
mod http; // /token and /leaky: statuses, headers, bodies, flags, shutdown
mod hung_names; // a name lookup that hangs
mod info; // RL.INFO
mod install; // `make install` and `make uninstall`
mod keys; // types, names, expiry, watchers, transactions and scripts
mod kill; // rl-server killed under load
mod layers; // dependencies of crates, and imports between folders
mod leaks; // no leak and no invalid access, by valgrind and by the address sanitizer
mod leaky; // RL.LEAKY: its delay, and the differences from RL.TOKEN
mod log_flood; // the number of log lines that clients can cause
mod memory; // bytes per key, a million callers, eviction, out of memory
mod memory_http; // memory that clients can make the server hold, and the maximum size of `/metrics`
mod metrics; // `/metrics`, and the Grafana board
mod multi; // RL.MULTI: all or nothing
mod once; // a call is sent to Redis at most once
mod operations; // health and the log
mod outage; // Redis killed, stopped, restarted or refusing calls; the modes of -on-outage
mod packages; // the policy-rc.d that `tests/packages.sh` writes and removes
mod page; // the page at /, in a real browser
mod page_charts; // the counts, levels and streams that the page shows
mod page_pictures; // the page in light, in dark and on a phone: pictures, and accessibility by axe-core
mod page_states; // what the page shows first, in its demonstration, in a dry run, in an outage and under overload
mod peek; // RL.PEEK
mod persistence; // RDB and AOF, with and without the module
mod policies; // named policies: routes, keys, several limits, dry run
mod policies_attacked; // attacks on named policies that worked once
mod policies_reload; // the policies file: its errors, SIGHUP under load
mod policy_limits; // the limits of policies under load, in a cluster, in outages, in the deny cache
mod propagation; // a new replica or AOF misses no change, though none is sent while there is none
mod proxies; // behind real proxies, each configured as in server/README.md
mod query; // parameters of trusted callers: key, cost, rate, burst
mod readme; // the examples, links and tables of the documents
mod readme_blocks; // each fenced block of the documents is run, or says why not
mod redis_addresses; // the forms of -redis, TLS, users and their rights
mod redis_password; // where the password for Redis may be given
mod replication; // what reaches a replica, and what does not
mod run; // `make run`
mod screening; // Host, pages of other origins, nosniff
mod sentinel; // failovers by Sentinel
mod server; // what Redis reports about the module: COMMAND, ACL, INFO, MODULE
mod server_modes; // ways to run a server: diskless loads, active defragmentation, I/O threads
mod serving; // connections: timeouts, limits of one, their number, shutdown
mod shaping; // answers that -shape delays
mod shifted_replies; // a surplus reply, after which replies and calls do not match
mod threads; // the threads of rl-server, and the connections of each
mod throttle; // RL.THROTTLE and CL.THROTTLE, and values that redis-cell stored
mod token; // RL.TOKEN as a client sees it: every field of its reply, every option
mod top; // RL.TOP: who is denied most
mod top_http; // the same at /top of -metrics-addr
mod unix_sockets; // rl-server on a unix socket: the file, the peer's address, connections, shutdown
mod unload; // MODULE UNLOAD while ACL rules or queued commands name the module's commands
mod upgrade; // from one version to another; stored bytes of a newer version
mod wall_clock; // rl-server's clock, set while it serves
