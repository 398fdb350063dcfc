//! [`Keys`]: the keys of one call that reads several, decides, and then writes. A single key is in `key.rs`.
//!
//! No key stays open while another one is opened, because opening can run code of other modules (`key.rs` lists when).
//! What a key held, and at which address, is remembered until such code may have run. From Redis 7.0 on, opening an
//! existing key runs none. So if all keys exist, as is usual, each is opened once and written at the address where it
//! was read. Redis 6.2 looks a key up again after the callbacks of its expiry, so there all but the last key are opened
//! again.

use std::ptr;

use redis_module::raw;
use rl_bucket::{Change, State};

use super::call::Call;
use super::key::Event;
use super::propagation::replicate;
use crate::error::Error;

/// Keys that were read. Each is named by another argument of the call, and no two have the same name.
pub(crate) struct Keys<'a, 'c> {
    /// The call whose arguments name the keys. It is borrowed mutably, so that no [`Key`](super::key::Key) can be open
    /// meanwhile.
    call: &'a mut Call<'c>,
    /// The keys in the order in which they were read.
    read: Vec<ReadKey>,
    /// How many keys, from the first one on, were read before code of other modules may have run.
    ///
    /// Their addresses must not be used any longer. The bucket in such a key may have changed too, but its decision is
    /// kept.
    outdated: usize,
}

/// One key that was read and closed again.
struct ReadKey {
    /// The argument that names it.
    argument: usize,
    /// The bucket in the key and the address of its bytes. `None` if the key was missing.
    loaded: Option<(State, *mut u8)>,
    /// Whether it was written in place, so that its event must still be sent.
    is_written: bool,
}

/// Whether `OpenKey` returns a key that a callback for `expired` created, as in Redis 6.2.
fn open_runs_code_before_lookup() -> bool {
    // SAFETY: the pointer was set when the API was initialised, and is only read. Redis 7.0 added the function.
    unsafe { raw::RedisModule_SetCommandInfo }.is_none()
}

impl<'a, 'c> Keys<'a, 'c> {
    /// No keys yet, with room for `capacity`.
    pub(crate) fn new(call: &'a mut Call<'c>, capacity: usize) -> Self {
        Self {
            call,
            read: Vec::with_capacity(capacity),
            outdated: 0,
        }
    }

    /// The bucket in the key named by argument `argument`. `None` if the key is missing.
    ///
    /// Read each key once: two arguments with the same name would give two buckets, of which the second overwrites the
    /// first.
    ///
    /// # Errors
    ///
    /// [`Error::WrongType`] if the key holds something else, [`Error::WrongArity`] if there is no such argument.
    /// Nothing has changed then.
    pub(crate) fn read(&mut self, argument: usize) -> Result<Option<State>, Error> {
        let mut key = self.call.open_for_writing(argument)?;
        let state = key.state()?;
        let loaded = key.loaded;
        drop(key);
        let may_have_run_code = loaded.is_none() || open_runs_code_before_lookup();
        if may_have_run_code {
            self.outdated = self.read.len();
        }
        self.read.push(ReadKey {
            argument,
            loaded,
            is_written: false,
        });
        Ok(state)
    }

    /// Applies one change to each key, in the order in which they were read, as `Key::save` does.
    ///
    /// Keys whose bytes have not moved and whose deadline stays are written first, in place and without a callback in
    /// between. Then all others are opened again, one by one. The events of the first group come last, since a callback
    /// could otherwise move bytes that are not written yet.
    ///
    /// If a callback has changed a key since it was read, the last write wins: the decision is stored even if the
    /// bucket was deleted or replaced by another bucket. A key that now holds another type is left as it is.
    ///
    /// # Errors
    ///
    /// [`Error::NotReplicated`]. It comes with the first key or not at all, so nothing has changed then.
    pub(crate) fn save(mut self, changes: impl Iterator<Item = Change>) -> Result<(), Error> {
        let mut reopened = Vec::new();
        for (i, change) in changes.enumerate() {
            if change != Change::Nothing && !self.write_in_place(i, &change)? {
                reopened.push((i, change));
            }
        }
        // From here on code of other modules may run.
        for (i, change) in reopened {
            self.reopen_and_write(i, change)?;
        }
        for key in self.read.iter().filter(|key| key.is_written) {
            if let Some(name) = self.call.argument(key.argument) {
                Event::SET.send(self.call.context(), name);
            }
        }
        Ok(())
    }

    /// Writes a bucket at the address where it was read, if that is still valid and the deadline does not move. Returns
    /// whether it did. Runs no code of other modules.
    ///
    /// The event is left to [`Keys::save`], which sends it once nothing more is written in place.
    fn write_in_place(&mut self, i: usize, change: &Change) -> Result<bool, Error> {
        let Some(key) = self.read.get_mut(i).filter(|_| i >= self.outdated) else {
            return Ok(false);
        };
        let (Some((loaded, stored)), Change::Store(state)) = (key.loaded, change) else {
            return Ok(false);
        };
        let (bytes, deadline_ms) = (state.encode(), state.deadline_ms());
        if loaded.deadline_ms() != deadline_ms {
            return Ok(false);
        }
        let name = self.call.argument(key.argument).ok_or(Error::WrongArity)?;
        replicate(self.call.context(), name, Some((&bytes, deadline_ms)))?;
        // SAFETY: the key was opened for writing and holds a string of this length, whose bytes have not moved: no code
        // of other modules ran since they were read, and the keys read and written since have other names.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN) };
        self.call.context().signal_modified(name);
        key.is_written = true;
        Ok(true)
    }

    /// Opens a key again and applies its change to whatever bucket it holds now, or creates one. Does nothing if it
    /// holds something else by now.
    fn reopen_and_write(&mut self, i: usize, change: Change) -> Result<(), Error> {
        let argument = self.read.get(i).map_or(0, |key| key.argument);
        let mut key = self.call.open_for_writing(argument)?;
        match key.state() {
            Ok(_) => key.save(change),
            Err(_) => Ok(()),
        }
    }
}
