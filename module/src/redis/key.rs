//! An open key: reading a bucket from it, and storing one in it.
//!
//! No pointer into a value lives across a call that can run other code, and no open key does. Another module may delete,
//! overwrite or rename any key in a callback; the server then frees what an open key, and a pointer from `StringDMA`, point
//! to. In Redis 6.2 to 8.6 and Valkey 8.1 to 9.1 callbacks run inside
//!
//! - `OpenKey`: `expired` if the key has expired; `keymiss` if it is missing and opened for reading
//! - `StringSet` and `StringTruncate` of a missing key: `new`
//! - `DeleteKey`, and `StringSet` over a value: the server event `key` (Redis 7.2, Valkey 8 on), and a type's `unlink`
//! - `NotifyKeyspaceEvent`: the event
//! - `Call`: all that its command does, and command filters
//!
//! and not inside `OpenKey` of a key that is there (but in Redis 6.2, see [`super::keys`]), `KeyType`, `ValueLength`, `StringDMA`, `GetExpire`, `SetAbsExpire`,
//! `SignalModifiedKey`, `Replicate`, `ReplicateVerbatim` and `CloseKey`.
//!
//! So a [`Key`] borrows its [`Call`] mutably: the compiler lets no second key be open beside it. While it is open only
//! functions of the second list are called. A function of the first list ends its use: what else is to be done needs the
//! key to be opened again, and events are sent when it is closed. Several keys are read and written by [`super::keys`].

use std::ffi::{CStr, c_char, c_int, c_longlong};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering;

use redis_module::raw::{self, RedisModuleKey, RedisModuleString};
use rl_bucket::{Change, State};

use super::{Call, Context, OK, PXAT, READ, WRITE};
use crate::error::Error;
use crate::listeners;

/// What a key without a deadline has in the place of one.
const NO_EXPIRE: c_longlong = -1;

/// An open key of a call; closed when dropped.
pub(crate) struct Key<'a> {
    context: Context,
    name: *mut RedisModuleString,
    key: *mut RedisModuleKey,
    mode: c_int,
    /// The bucket in it and where its bytes are, once they were looked for.
    pub(super) loaded: Option<(State, *mut u8)>,
    call: PhantomData<&'a mut Call<'a>>,
}

impl Call<'_> {
    /// Opens the key that argument `i` names.
    pub(crate) fn open_for_reading(&mut self, i: usize) -> Result<Key<'_>, Error> {
        self.open(i, READ)
    }

    /// Opens the key that argument `i` names.
    pub(crate) fn open_for_writing(&mut self, i: usize) -> Result<Key<'_>, Error> {
        self.open(i, READ | WRITE)
    }

    fn open(&mut self, i: usize, mode: c_int) -> Result<Key<'_>, Error> {
        let name = self.argument(i).ok_or(Error::WrongArity)?;
        // SAFETY: the context is alive, and the name lives as long as the call, which the key borrows.
        Ok(unsafe { Key::open(self.context, name, mode) })
    }
}

impl Key<'_> {
    /// # Safety
    ///
    /// The context and the name outlive the key, and no other key is open.
    unsafe fn open(context: Context, name: *mut RedisModuleString, mode: c_int) -> Self {
        // SAFETY: both are alive. A key that is missing opens as null for reading, which every function allows.
        let key = unsafe { api!(RedisModule_OpenKey(context.0, name, mode)) }.cast();
        Self {
            context,
            name,
            key,
            mode,
            loaded: None,
            call: PhantomData,
        }
    }

    /// The bucket in this key, if there is one.
    pub(crate) fn state(&mut self) -> Result<Option<State>, Error> {
        let Some(bytes) = self.bytes(State::LEN) else {
            return self.is_empty().then_some(None).ok_or(Error::WrongType);
        };
        // SAFETY: there are as many bytes, and nothing changes them meanwhile.
        let stored = unsafe { std::slice::from_raw_parts(bytes, State::LEN) };
        let state = State::decode(stored).ok_or(Error::WrongType)?;
        self.loaded = Some((state, bytes));
        Ok(Some(state))
    }

    /// The string in this key, if it is one of this length that has a deadline.
    pub(crate) fn volatile_text(&self, len: usize) -> Option<&[u8]> {
        let bytes = self.bytes(len)?;
        // SAFETY: the key is open and holds a string: Redis 8.2 crashes when asked for the deadline of a missing one. There
        // are as many bytes, and they stay until the key is changed, which no method does while they are borrowed.
        unsafe {
            let is_volatile = api!(RedisModule_GetExpire(self.key)) != NO_EXPIRE;
            is_volatile.then(|| std::slice::from_raw_parts(bytes, len))
        }
    }

    /// Where the string in this key is, if it is one of this length; to be written to only if it was opened for that.
    ///
    /// The length is asked for first: a look at the bytes of a string that is not stored raw changes how it is stored.
    fn bytes(&self, len: usize) -> Option<*mut u8> {
        let mut found = 0;
        // SAFETY: the key is open, or null, which has no length. A value of another type has no bytes.
        let bytes: *mut u8 = unsafe {
            if api!(RedisModule_ValueLength(self.key)) != len {
                return None;
            }
            api!(RedisModule_StringDMA(self.key, &raw mut found, self.mode)).cast()
        };
        (!bytes.is_null() && found == len).then_some(bytes)
    }

    fn is_empty(&self) -> bool {
        // SAFETY: the key is open; null means that it is missing, and its type is then EMPTY.
        let kind = unsafe { api!(RedisModule_KeyType(self.key)) };
        kind as isize == raw::REDISMODULE_KEYTYPE_EMPTY
    }

    /// Applies a change to the bucket that [`Key::state`] found, and informs replicas, the AOF, watchers, tracking clients
    /// and subscribers of keyspace events. Closes the key.
    ///
    /// What is replicated is the effect, never the command that read the clock. It goes first: a server that cannot
    /// replicate it (`rename-command SET`) says so before anything has changed.
    pub(crate) fn save(self, change: Change) -> Result<(), Error> {
        match change {
            Change::Nothing => Ok(()),
            Change::Store(state) => self.store(&state),
            Change::Remove => self.remove(),
        }
    }

    fn store(self, state: &State) -> Result<(), Error> {
        let (bytes, deadline_ms) = (state.encode(), state.deadline_ms());
        replicate(self.context, self.name, Some((&bytes, deadline_ms)))?;
        let Some((loaded, stored)) = self.loaded else {
            self.create(&bytes, deadline_ms);
            return Ok(());
        };
        let (context, name) = (self.context, self.name);
        let moves = loaded.deadline_ms() != deadline_ms;
        // SAFETY: the key is open for writing and holds a string of this length. Its bytes are where they were: only
        // functions that run no other code were called since.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN) };
        if moves {
            self.set_deadline(deadline_ms);
        }
        self.close_modified();
        Event::SET.send(context, name);
        if moves {
            Event::EXPIRE.send(context, name);
        }
        Ok(())
    }

    /// Makes the key a bucket with a deadline. It is missing, or holds what redis-cell left.
    ///
    /// Value and key are set in one function, inside which `new` is sent. The key then holds what it was given unless a
    /// callback has changed it, so it is opened again for its deadline, and what is not ours any more is left alone.
    fn create(self, bytes: &[u8; State::LEN], deadline_ms: u64) {
        let (context, name, mode) = (self.context, self.name, self.mode);
        let (text, no_context) = (bytes.as_ptr().cast(), ptr::null_mut());
        // SAFETY: the key is open for writing. The string is ours until it is freed as often as it was created and
        // retained. Servers before Redis 8.2 and Valkey 8.1 count their own reference only after `new`: the second one of
        // ours keeps the value alive if a callback deletes the key, and this open key valid until it is closed.
        unsafe {
            let value = api!(RedisModule_CreateString(no_context, text, State::LEN));
            api!(RedisModule_RetainString(no_context, value));
            api!(RedisModule_StringSet(self.key, value));
            drop(self);
            api!(RedisModule_FreeString(no_context, value));
            api!(RedisModule_FreeString(no_context, value));
        }
        // SAFETY: context and name outlive this function's caller, and the key was closed.
        let key = unsafe { Key::open(context, name, mode) };
        let is_ours = key.bytes(State::LEN).is_some_and(|stored| {
            // SAFETY: there are as many bytes, and nothing changes them meanwhile.
            unsafe { std::slice::from_raw_parts(stored, State::LEN) == bytes }
        });
        if is_ours {
            key.set_deadline(deadline_ms);
        }
        key.close_modified();
        Event::SET.send(context, name);
        Event::EXPIRE.send(context, name);
    }

    fn remove(self) -> Result<(), Error> {
        replicate(self.context, self.name, None)?;
        let (context, name) = (self.context, self.name);
        // SAFETY: the key is open for writing.
        unsafe { api!(RedisModule_DeleteKey(self.key)) };
        self.close_modified();
        Event::DEL.send(context, name);
        Ok(())
    }

    fn set_deadline(&self, deadline_ms: u64) {
        // SAFETY: the key is open for writing and holds a string.
        unsafe {
            api!(RedisModule_SetAbsExpire(
                self.key,
                deadline_ms.cast_signed()
            ));
        }
    }

    /// Closes the key, and informs watchers and tracking clients.
    fn close_modified(self) {
        self.context.signal_modified(self.name);
    }
}

impl Context {
    /// Informs watchers and tracking clients. Runs no other code.
    pub(super) fn signal_modified(self, name: *mut RedisModuleString) {
        // SAFETY: the context is alive, and so is the name, an argument of the call.
        unsafe { api!(RedisModule_SignalModifiedKey(self.0, name)) };
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: the key was opened by us and is closed once; null is allowed.
        unsafe { api!(RedisModule_CloseKey(self.key)) }
    }
}

/// Sends what the key will hold, and until when, to replicas and the AOF if there are any, and counts a change for the save
/// points. Runs no other code.
pub(super) fn replicate(
    context: Context,
    name: *mut RedisModuleString,
    held: Option<(&[u8; State::LEN], u64)>,
) -> Result<(), Error> {
    let ctx = context.0;
    let (set, del) = (c"SET".as_ptr(), c"DEL".as_ptr());
    let mut digits = itoa::Buffer::new();
    // SAFETY: the context is alive, and PXAT since the module was loaded; the format of a command is that of the
    // arguments after it.
    let sent = unsafe {
        match held {
            // It goes nowhere, whatever it says.
            _ if !listeners::are_there() => api!(RedisModule_ReplicateVerbatim(ctx)),
            None => api!(RedisModule_Replicate(ctx, del, c"s".as_ptr(), name)),
            Some((bytes, deadline_ms)) => {
                let deadline = digits.format(deadline_ms);
                api!(RedisModule_Replicate(
                    ctx,
                    set,
                    c"sbsb".as_ptr(),
                    name,
                    bytes.as_ptr().cast::<c_char>(),
                    State::LEN,
                    PXAT.load(Ordering::Relaxed),
                    deadline.as_ptr().cast::<c_char>(),
                    deadline.len(),
                ))
            }
        }
    };
    if sent == OK {
        Ok(())
    } else {
        Err(Error::NotReplicated)
    }
}

/// A keyspace event: those of Redis's SET and DEL, which replicas run for the same change.
pub(super) struct Event {
    kind: c_int,
    name: &'static CStr,
}

impl Event {
    pub(super) const SET: Self = Self {
        kind: raw::REDISMODULE_NOTIFY_STRING,
        name: c"set",
    };
    const EXPIRE: Self = Self {
        kind: raw::REDISMODULE_NOTIFY_GENERIC,
        name: c"expire",
    };
    const DEL: Self = Self {
        kind: raw::REDISMODULE_NOTIFY_GENERIC,
        name: c"del",
    };

    /// Sends the event to modules and to subscribed clients. No key may be open: callbacks run.
    pub(super) fn send(&self, context: Context, key: *mut RedisModuleString) {
        // SAFETY: the context is alive, and so is the name of the key, an argument of the call.
        unsafe {
            api!(RedisModule_NotifyKeyspaceEvent(
                context.0,
                self.kind,
                self.name.as_ptr(),
                key
            ));
        }
    }
}
