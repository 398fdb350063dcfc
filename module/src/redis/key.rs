//! [`Key`]: an open key, from which a bucket is read and in which it is stored. Several keys of one call are in
//! `keys.rs`.
//!
//! No pointer into a value, and no open key, lives across a call that can run code of other modules. A module may
//! delete, overwrite or rename any key in a callback; the server then frees what an open key, and a pointer from
//! `StringDMA`, point to. In Redis 6.2 to 8.6 and Valkey 8.1 to 9.1 callbacks run inside
//!
//! - `OpenKey`: `expired` if the key has expired; `keymiss` if it is missing and opened for reading
//! - `StringSet` and `StringTruncate` of a missing key: `new`
//! - `DeleteKey`, and `StringSet` over a value: the server event `key` (Redis 7.2, Valkey 8 on), and a type's `unlink`
//! - `NotifyKeyspaceEvent`: the event
//! - `Call`: everything that its command does, and command filters
//!
//! and not inside `OpenKey` of an existing key (except in Redis 6.2, see `keys.rs`), `KeyType`, `ValueLength`,
//! `StringDMA`, `GetExpire`, `SetAbsExpire`, `SignalModifiedKey`, `Replicate`, `ReplicateVerbatim` and `CloseKey`.
//!
//! So a [`Key`] borrows its [`Call`] mutably, and the compiler rejects a second key that is open beside it. While a key
//! is open, only functions of the second list are called. A function of the first list is the last use of an open key:
//! more work opens the key again, and events are sent after it is closed.

use std::ffi::{CStr, c_int, c_longlong};
use std::marker::PhantomData;
use std::ptr;

use redis_module::raw::{self, RedisModuleKey, RedisModuleString};
use rl_bucket::{Change, State};

use super::call::Call;
use super::context::Context;
use super::ffi::api;
use super::propagation::replicate;
use crate::error::Error;

/// Opens a key to look at it. A key that is opened with this alone must not be changed.
const READ: c_int = raw::REDISMODULE_READ.cast_signed();
/// Opens a key to change it, whether or not it exists.
const WRITE: c_int = raw::REDISMODULE_WRITE.cast_signed();

/// The remaining time of a key that has no deadline, `REDISMODULE_NO_EXPIRE`.
const NO_EXPIRE: c_longlong = -1;

/// An open key of a call. Dropping it closes it.
///
/// It borrows the call mutably, so one call has at most one open key at a time. The key need not exist: then it has no
/// bucket, and [`Key::save`] creates one.
pub(crate) struct Key<'a> {
    context: Context,
    /// The argument that names the key. The call owns it.
    name: *mut RedisModuleString,
    /// What `OpenKey` returned. Null if the key was opened for reading and does not exist.
    key: *mut RedisModuleKey,
    /// The mode in which the key was opened. `StringDMA` needs it too: opened for writing, it makes the bytes safe to
    /// change.
    mode: c_int,
    /// The bucket in the key and the address of its bytes, after [`Key::state`] has read them.
    pub(super) loaded: Option<(State, *mut u8)>,
    /// Stands for the mutable borrow of the call.
    call: PhantomData<&'a mut Call<'a>>,
}

impl Call<'_> {
    /// Opens the key named by argument `i`, for a command that Redis knows as read-only.
    ///
    /// An expired key is missing: a primary deletes it here, and a replica, which may not delete, hides it.
    ///
    /// # Errors
    ///
    /// [`Error::WrongArity`] if the call has no such argument.
    pub(crate) fn open_for_reading(&mut self, i: usize) -> Result<Key<'_>, Error> {
        self.open(i, READ)
    }

    /// Opens the key named by argument `i`, for a command that Redis knows as writing, whether or not it exists.
    ///
    /// Opening alone changes nothing, neither the key nor its deadline; a denial closes it again. An expired key is
    /// deleted first, so no bucket is read after its deadline.
    ///
    /// # Errors
    ///
    /// [`Error::WrongArity`] if the call has no such argument.
    pub(crate) fn open_for_writing(&mut self, i: usize) -> Result<Key<'_>, Error> {
        self.open(i, READ | WRITE)
    }

    fn open(&mut self, i: usize, mode: c_int) -> Result<Key<'_>, Error> {
        let name = self.argument(i).ok_or(Error::WrongArity)?;
        // SAFETY: the context is alive, and the name lives as long as the call, which the key borrows.
        Ok(unsafe { Key::open(self.context(), name, mode) })
    }
}

impl Key<'_> {
    /// Opens a key. It is the only call of `OpenKey`.
    ///
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

    /// The bucket in this key. `None` if the key is missing.
    ///
    /// The deadline of the key is not read: the state contains all that decides. A bucket in a key without a deadline,
    /// which PERSIST makes, works too, and the key gets a deadline again when the deadline of the bucket moves.
    ///
    /// # Errors
    ///
    /// [`Error::WrongType`] if the key holds another type, or a string that [`State::decode`] refuses.
    pub(crate) fn state(&mut self) -> Result<Option<State>, Error> {
        let Some(bytes) = self.bytes(State::LEN) else {
            return self.is_empty().then_some(None).ok_or(Error::WrongType);
        };
        // SAFETY: there are `LEN` bytes, and nothing changes them while the slice lives.
        let stored = unsafe { std::slice::from_raw_parts(bytes, State::LEN) };
        let state = State::decode(stored).ok_or(Error::WrongType)?;
        self.loaded = Some((state, bytes));
        Ok(Some(state))
    }

    /// The value of this key, if it is a string of this length and the key has a deadline.
    ///
    /// `None` as well for a missing key. This is for values of redis-cell, which always have a deadline; a string of
    /// the same length without one belongs to another program.
    pub(crate) fn string_with_deadline(&self, len: usize) -> Option<&[u8]> {
        let bytes = self.bytes(len)?;
        // SAFETY: the key is open and holds a string: `GetExpire` of a missing key crashes Redis 8.2. There are `len`
        // bytes, and they stay until the key is changed, which no method does while they are borrowed.
        unsafe {
            let has_deadline = api!(RedisModule_GetExpire(self.key)) != NO_EXPIRE;
            has_deadline.then(|| std::slice::from_raw_parts(bytes, len))
        }
    }

    /// The address of the value, if it is a string of this length. Only a key that is open for writing may be written
    /// to.
    ///
    /// The length is read first, because `StringDMA` changes the encoding of a string that is not stored raw.
    fn bytes(&self, len: usize) -> Option<*mut u8> {
        let mut actual_len = 0;
        // SAFETY: the key is open, or null, which has no length. A value of another type has no bytes.
        let bytes: *mut u8 = unsafe {
            if api!(RedisModule_ValueLength(self.key)) != len {
                return None;
            }
            api!(RedisModule_StringDMA(
                self.key,
                &raw mut actual_len,
                self.mode
            ))
            .cast()
        };
        (!bytes.is_null() && actual_len == len).then_some(bytes)
    }

    /// Whether the key is missing. The type EMPTY stands for that alone: an empty string has the type STRING.
    fn is_empty(&self) -> bool {
        // SAFETY: the key is open. Null stands for a missing key, whose type is EMPTY.
        let kind = unsafe { api!(RedisModule_KeyType(self.key)) };
        kind as isize == raw::REDISMODULE_KEYTYPE_EMPTY
    }

    /// Applies a change to the bucket that [`Key::state`] returned, and informs replicas, the AOF, watchers, tracking
    /// clients and subscribers of keyspace events. Closes the key.
    ///
    /// The effect is replicated, never the command, which read the clock. Replication comes first: a server that cannot
    /// replicate (`rename-command SET`) fails before anything has changed.
    ///
    /// [`Change::Nothing`] does none of this: a denial that changes nothing costs neither a write nor an event.
    ///
    /// # Errors
    ///
    /// [`Error::NotReplicated`]; the key is then as it was.
    pub(crate) fn save(self, change: Change) -> Result<(), Error> {
        match change {
            Change::Nothing => Ok(()),
            Change::Store(state) => self.store(&state),
            Change::Remove => self.remove(),
        }
    }

    /// Stores a bucket, over the one that was read or in a key that had none.
    ///
    /// A bucket is overwritten in place: its length never changes, so the value is not allocated anew and the key keeps
    /// its deadline. The deadline is written only if it moves, which [`State::deadline_ms`] makes rare.
    fn store(self, state: &State) -> Result<(), Error> {
        let (bytes, deadline_ms) = (state.encode(), state.deadline_ms());
        replicate(self.context, self.name, Some((&bytes, deadline_ms)))?;
        let Some((loaded, stored)) = self.loaded else {
            self.create(&bytes, deadline_ms);
            return Ok(());
        };
        let (context, name) = (self.context, self.name);
        let deadline_moves = loaded.deadline_ms() != deadline_ms;
        // SAFETY: the key is open for writing and holds a string of this length. Its bytes have not
        // moved: since they were read, only functions were called that run no code of other modules.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN) };
        if deadline_moves {
            self.set_deadline(deadline_ms);
        }
        self.close_modified();
        Event::SET.send(context, name);
        if deadline_moves {
            Event::EXPIRE.send(context, name);
        }
        Ok(())
    }

    /// Creates the key, or replaces the value of redis-cell that it holds, and sets its deadline.
    ///
    /// `StringSet` sends the event `new`, and a callback may change the key. So the key is opened again to set its
    /// deadline, and it is left alone if it no longer holds `bytes`.
    fn create(self, bytes: &[u8; State::LEN], deadline_ms: u64) {
        let (context, name, mode) = (self.context, self.name, self.mode);
        let (text, no_context) = (bytes.as_ptr().cast(), ptr::null_mut());
        // SAFETY: the key is open for writing. The string is valid until it is freed as often as it was created
        // and retained. Servers before Redis 8.2 and Valkey 8.1 count their own reference only after `new`: the second
        // reference keeps the value alive if a callback deletes the key, and this open key valid until it is closed.
        unsafe {
            let value = api!(RedisModule_CreateString(no_context, text, State::LEN));
            api!(RedisModule_RetainString(no_context, value));
            api!(RedisModule_StringSet(self.key, value));
            drop(self);
            api!(RedisModule_FreeString(no_context, value));
            api!(RedisModule_FreeString(no_context, value));
        }
        // SAFETY: context and name outlive the caller of this function, and the key was closed.
        let key = unsafe { Key::open(context, name, mode) };
        let is_unchanged = key.bytes(State::LEN).is_some_and(|stored| {
            // SAFETY: there are `LEN` bytes, and nothing changes them while the slice lives.
            unsafe { std::slice::from_raw_parts(stored, State::LEN) == bytes }
        });
        if is_unchanged {
            key.set_deadline(deadline_ms);
        }
        key.close_modified();
        Event::SET.send(context, name);
        Event::EXPIRE.send(context, name);
    }

    /// Deletes the key: nothing is used of the bucket, and a missing key means the same.
    fn remove(self) -> Result<(), Error> {
        replicate(self.context, self.name, None)?;
        let (context, name) = (self.context, self.name);
        // SAFETY: the key is open for writing.
        unsafe { api!(RedisModule_DeleteKey(self.key)) };
        self.close_modified();
        Event::DEL.send(context, name);
        Ok(())
    }

    /// Sets when Redis deletes the key, in milliseconds since the Unix epoch.
    ///
    /// The number is at most 2^63 - 1, so the conversion keeps it. Redis deletes the key on its own after that, and a
    /// primary then sends a DEL to its replicas; the module is not called.
    fn set_deadline(&self, deadline_ms: u64) {
        // SAFETY: the key is open for writing and holds a string.
        unsafe {
            api!(RedisModule_SetAbsExpire(
                self.key,
                deadline_ms.cast_signed()
            ));
        }
    }

    /// Closes the key, and informs watchers and tracking clients. The signal comes first and the key is closed at the
    /// end of this function, when `self` is dropped; neither runs code of other modules.
    fn close_modified(self) {
        self.context.signal_modified(self.name);
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: the key was opened by `Key::open` and is closed once; null is allowed.
        unsafe { api!(RedisModule_CloseKey(self.key)) }
    }
}

/// A keyspace event. The module sends the events of SET and DEL, which replicas run for the same change.
///
/// It sends `expire` only if the deadline moved. A replica runs `SET key value PXAT`, which sends it each time.
pub(super) struct Event {
    /// The class of the event, by which `notify-keyspace-events` selects what clients get. Modules get all events.
    kind: c_int,
    /// The name of the event, as in the channel `__keyevent@0__:set`.
    name: &'static CStr,
}

impl Event {
    /// The value was written.
    pub(super) const SET: Self = Self {
        kind: raw::REDISMODULE_NOTIFY_STRING,
        name: c"set",
    };
    /// The deadline was set or moved.
    const EXPIRE: Self = Self {
        kind: raw::REDISMODULE_NOTIFY_GENERIC,
        name: c"expire",
    };
    /// The key was deleted.
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
