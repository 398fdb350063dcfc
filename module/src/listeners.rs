//! Whether anyone may be listening to our changes: an AOF, or a replica, attached or able to resume.
//!
//! To build a command that no one hears is the dearest step of a call, so it is left out then. A wrong "no one" would lose a
//! change, hence the doubt is always resolved the other way: what is not known to be silent is listened to.
//!
//! Every listener begins with a fork (the snapshot of a full synchronisation, diskless or not, or the first rewrite of an
//! AOF that is switched on) or with a change of role. The server tells both at once, before the next command. That the last
//! listener is gone is only looked for now and then.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::redis::Context;

static LISTENING: AtomicBool = AtomicBool::new(true);

/// Whether changes are to be sent.
pub(crate) fn are_there() -> bool {
    LISTENING.load(Ordering::Relaxed)
}

/// A child process was born or has died, or the server has become a primary or a replica.
pub(crate) fn expect() {
    LISTENING.store(true, Ordering::Relaxed);
}

/// Some time has passed: there may be no listener any more. In a cluster one may come without a fork, with a slot.
pub(crate) fn look_round(context: Context) {
    let fields = [c"connected_slaves", c"repl_backlog_active"];
    if are_there() && context.is_primary_alone() && context.replication_info_is_zero(&fields) {
        LISTENING.store(false, Ordering::Relaxed);
    }
}
