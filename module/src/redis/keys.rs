//! The keys of one call that reads several of them, decides, and then writes.
//!
//! No key stays open while another one is opened: that can run other code (see [`super::key`]). What a key held and where
//! is remembered, and forgotten as soon as other code may have run. From Redis 7.0 on, opening a key that turns out to be
//! there ran none, so when all are there, as is usual, each is opened once and written where it was read. Redis 6.2 looks for
//! the key again after the callbacks of its expiry, so there all but the last are opened again.

use std::ptr;

use redis_module::raw;
use rl_bucket::{Change, State};

use super::Call;
use super::key::{Event, replicate};
use crate::error::Error;

/// Keys that were read. Each is named by another argument of the call, and no two have the same name.
pub(crate) struct Keys<'a, 'c> {
    call: &'a mut Call<'c>,
    read: Vec<ReadKey>,
    /// How many keys at the beginning were read before other code may have run.
    outdated: usize,
}

/// Whether `OpenKey` finds what a callback for `expired` put in the place of the key, as Redis 6.2 does.
fn opens_what_callbacks_made() -> bool {
    // SAFETY: the pointer was filled in by the API's initialisation and is only read. Redis 7.0 brought the function.
    unsafe { raw::RedisModule_SetCommandInfo }.is_none()
}

struct ReadKey {
    argument: usize,
    /// The bucket in it and where its bytes are.
    loaded: Option<(State, *mut u8)>,
    is_written: bool,
}

impl<'a, 'c> Keys<'a, 'c> {
    pub(crate) fn new(call: &'a mut Call<'c>, capacity: usize) -> Self {
        Self {
            call,
            read: Vec::with_capacity(capacity),
            outdated: 0,
        }
    }

    /// The bucket in the key that argument `i` names, if there is one.
    pub(crate) fn read(&mut self, argument: usize) -> Result<Option<State>, Error> {
        let mut key = self.call.open_for_writing(argument)?;
        let state = key.state()?;
        let loaded = key.loaded;
        drop(key);
        let may_have_run_code = loaded.is_none() || opens_what_callbacks_made();
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

    /// Applies a change to each key, in the order in which they were read, as [`super::Key::save`] does.
    ///
    /// If other code has changed a key since it was read, the last write wins: what was decided from the state that was
    /// read is stored, also where the bucket was deleted or replaced by another bucket. A key that now holds something else
    /// is left as it is.
    pub(crate) fn save(mut self, changes: impl Iterator<Item = Change>) -> Result<(), Error> {
        let mut others = Vec::new();
        for (i, change) in changes.enumerate() {
            if change != Change::Nothing && !self.write_in_place(i, &change)? {
                others.push((i, change));
            }
        }
        // From here on other code may run.
        for (i, change) in others {
            self.write_anew(i, change)?;
        }
        for key in self.read.iter().filter(|key| key.is_written) {
            if let Some(name) = self.call.argument(key.argument) {
                Event::SET.send(self.call.context, name);
            }
        }
        Ok(())
    }

    /// Writes a bucket whose deadline stays to where it was read, if it is still there. Runs no other code.
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
        replicate(self.call.context, name, Some((&bytes, deadline_ms)))?;
        // SAFETY: the key was opened for writing and holds a string of this length, whose bytes are where they were: no
        // other code ran since it was read, and the keys read and written since have other names.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN) };
        self.call.context.signal_modified(name);
        key.is_written = true;
        Ok(true)
    }

    fn write_anew(&mut self, i: usize, change: Change) -> Result<(), Error> {
        let argument = self.read.get(i).map_or(0, |key| key.argument);
        let mut key = self.call.open_for_writing(argument)?;
        match key.state() {
            Ok(_) => key.save(change),
            Err(_) => Ok(()),
        }
    }
}
