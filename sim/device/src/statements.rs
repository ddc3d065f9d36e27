//! Prepared statements that outlive their user: a device's SQL is parsed once a connection, not once a use.
//!
//! The core prepares each of its statements anew whenever it runs it, which was a third of a plan's time. The linker
//! therefore hands its calls (and rusqlite's) to the functions here (`--wrap`, see `build.rs`): of connections that
//! were given to [`keep_statements`], a statement that is finalized is reset and kept, and handed out again for the same text.
//! What a statement answers is the same: SQLite itself prepares it again when the schema has changed.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::ffi::{
    SQLITE_OK, SQLITE_PREPARE_PERSISTENT, SQLITE_ROW, sqlite3, sqlite3_callback, sqlite3_clear_bindings,
    sqlite3_db_handle, sqlite3_reset, sqlite3_sql, sqlite3_step, sqlite3_stmt,
};

/// How many statements a connection keeps.
const KEPT_MAX: usize = 2_000;

/// The idle statements of one connection, as addresses, by text.
#[derive(Default)]
struct Idle {
    by_text: BTreeMap<Box<[u8]>, Vec<usize>>,
    count: usize,
}

/// By the connection's address. A connection that is not here finalizes its statements at once, as SQLite does.
static IDLE: Mutex<BTreeMap<usize, Idle>> = Mutex::new(BTreeMap::new());

/// Keeps this connection's statements from here on, until it is closed.
pub(super) fn keep_statements(connection: &Connection) {
    // SAFETY: the handle is used as a name only.
    #[expect(unsafe_code, reason = "SQLite's own name of the connection")]
    let db = unsafe { connection.handle() };
    with_idle(|idle| idle.insert(db as usize, Idle::default()));
}

fn with_idle<T>(act: impl FnOnce(&mut BTreeMap<usize, Idle>) -> T) -> T {
    act(&mut IDLE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The text as SQLite keeps it with the statement: without what follows its end.
fn own_text(text: &[u8]) -> &[u8] {
    text.trim_ascii_end()
}

/// An idle statement of the connection for this text; the flag says whether the connection keeps statements at all.
fn take(db: *mut sqlite3, text: &[u8]) -> (bool, Option<*mut sqlite3_stmt>) {
    with_idle(|idle| {
        let Some(idle) = idle.get_mut(&(db as usize)) else { return (false, None) };
        let found = idle.by_text.get_mut(own_text(text)).and_then(Vec::pop);
        idle.count -= usize::from(found.is_some());
        (true, found.map(|address| address as *mut sqlite3_stmt))
    })
}

/// Keeps a statement for its next use. `false`: the connection keeps no more.
fn put(db: *mut sqlite3, statement: *mut sqlite3_stmt, text: &[u8]) -> bool {
    with_idle(|idle| {
        let Some(idle) = idle.get_mut(&(db as usize)).filter(|idle| idle.count < KEPT_MAX) else { return false };
        let text = own_text(text);
        match idle.by_text.get_mut(text) {
            Some(statements) => statements.push(statement as usize),
            None => drop(idle.by_text.insert(text.into(), vec![statement as usize])),
        }
        idle.count += 1;
        true
    })
}

#[expect(unsafe_code, reason = "SQLite's own functions, as the linker names them")]
unsafe extern "C" {
    fn __real_sqlite3_prepare_v3(
        db: *mut sqlite3,
        sql: *const c_char,
        bytes: c_int,
        flags: c_uint,
        statement: *mut *mut sqlite3_stmt,
        tail: *mut *const c_char,
    ) -> c_int;
    fn __real_sqlite3_exec(
        db: *mut sqlite3,
        sql: *const c_char,
        callback: sqlite3_callback,
        argument: *mut c_void,
        message: *mut *mut c_char,
    ) -> c_int;
    fn __real_sqlite3_finalize(statement: *mut sqlite3_stmt) -> c_int;
    fn __real_sqlite3_close(db: *mut sqlite3) -> c_int;
    fn __real_sqlite3_close_v2(db: *mut sqlite3) -> c_int;
}

/// # Safety
/// As `sqlite3_prepare_v3`.
#[expect(unsafe_code, reason = "stands in for a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sqlite3_prepare_v3(
    db: *mut sqlite3,
    sql: *const c_char,
    bytes: c_int,
    flags: c_uint,
    statement: *mut *mut sqlite3_stmt,
    tail: *mut *const c_char,
) -> c_int {
    // SAFETY: `sql` is readable for `bytes` bytes, or to its NUL if that is negative, as the caller promises SQLite;
    // an idle statement is one that SQLite made for this connection and nobody has finalized.
    unsafe {
        let text = match usize::try_from(bytes) {
            Ok(bytes) => std::slice::from_raw_parts(sql.cast::<u8>(), bytes),
            Err(_) => CStr::from_ptr(sql).to_bytes(),
        };
        let (keeps, found) = take(db, text);
        if let Some(found) = found {
            *statement = found;
            if !tail.is_null() {
                *tail = sql.add(text.len());
            }
            return SQLITE_OK;
        }
        let persistent = if keeps { SQLITE_PREPARE_PERSISTENT } else { 0 };
        __real_sqlite3_prepare_v3(db, sql, bytes, flags | persistent, statement, tail)
    }
}

/// # Safety
/// As `sqlite3_prepare_v2`.
#[expect(unsafe_code, reason = "stands in for a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sqlite3_prepare_v2(
    db: *mut sqlite3,
    sql: *const c_char,
    bytes: c_int,
    statement: *mut *mut sqlite3_stmt,
    tail: *mut *const c_char,
) -> c_int {
    // SAFETY: version 3 without flags is version 2.
    unsafe { __wrap_sqlite3_prepare_v3(db, sql, bytes, 0, statement, tail) }
}

/// # Safety
/// As `sqlite3_exec`.
#[expect(unsafe_code, reason = "stands in for a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sqlite3_exec(
    db: *mut sqlite3,
    sql: *const c_char,
    callback: sqlite3_callback,
    argument: *mut c_void,
    message: *mut *mut c_char,
) -> c_int {
    // SAFETY: the caller's promises are passed on; each statement is stepped to its end and finalized once.
    unsafe {
        let wants_no_result = callback.is_none() && message.is_null() && !sql.is_null();
        if !wants_no_result || !with_idle(|idle| idle.contains_key(&(db as usize))) {
            return __real_sqlite3_exec(db, sql, callback, argument, message);
        }
        let mut rest = sql;
        while *rest != 0 {
            let (mut statement, mut tail) = (null_mut(), rest);
            let code = __wrap_sqlite3_prepare_v2(db, rest, -1, &raw mut statement, &raw mut tail);
            if code != SQLITE_OK {
                return code;
            }
            rest = tail;
            if statement.is_null() {
                continue;
            }
            while sqlite3_step(statement) == SQLITE_ROW {}
            let code = __wrap_sqlite3_finalize(statement);
            if code != SQLITE_OK {
                return code;
            }
        }
        SQLITE_OK
    }
}

/// # Safety
/// As `sqlite3_finalize`.
#[expect(unsafe_code, reason = "stands in for a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sqlite3_finalize(statement: *mut sqlite3_stmt) -> c_int {
    // SAFETY: the caller no longer uses the statement, and nobody else does; its text lives as long as it does.
    unsafe {
        if statement.is_null() {
            return SQLITE_OK;
        }
        let db = sqlite3_db_handle(statement);
        let text = sqlite3_sql(statement);
        if text.is_null() || !with_idle(|idle| idle.contains_key(&(db as usize))) {
            return __real_sqlite3_finalize(statement);
        }
        // The code that finalizing would return.
        let code = sqlite3_reset(statement);
        if code != SQLITE_OK
            || sqlite3_clear_bindings(statement) != SQLITE_OK
            || !put(db, statement, CStr::from_ptr(text).to_bytes())
        {
            __real_sqlite3_finalize(statement);
        }
        code
    }
}

/// Finalizes what a connection kept, because it cannot be closed before. It keeps nothing from then on.
fn finalize_idle(db: *mut sqlite3) {
    let Some(idle) = with_idle(|idle| idle.remove(&(db as usize))) else { return };
    for address in idle.by_text.into_values().flatten() {
        // SAFETY: nobody else uses an idle statement.
        #[expect(unsafe_code, reason = "SQLite's own function")]
        unsafe {
            __real_sqlite3_finalize(address as *mut sqlite3_stmt);
        }
    }
}

/// # Safety
/// As `sqlite3_close`.
#[expect(unsafe_code, reason = "stands in for a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sqlite3_close(db: *mut sqlite3) -> c_int {
    finalize_idle(db);
    // SAFETY: as the caller promises.
    unsafe { __real_sqlite3_close(db) }
}

/// # Safety
/// As `sqlite3_close_v2`.
#[expect(unsafe_code, reason = "stands in for a C function")]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_sqlite3_close_v2(db: *mut sqlite3) -> c_int {
    finalize_idle(db);
    // SAFETY: as the caller promises.
    unsafe { __real_sqlite3_close_v2(db) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_used_again_and_answer_the_same() {
        let connection = Connection::open_in_memory().expect("a database in memory");
        keep_statements(&connection);
        connection.execute_batch("CREATE TABLE t(a)").expect("a table");
        let count = || connection.query_row("SELECT count(*), max(a) FROM t", [], |row| row.get::<_, i64>(0));
        for expected in 0..3 {
            assert_eq!(count().expect("it answers"), expected);
            connection.execute("INSERT INTO t VALUES (?1)", [expected]).expect("a row");
            assert!(connection.execute("INSERT INTO t VALUES (?1, 2)", [1]).is_err());
        }
        let kept = with_idle(|idle| {
            // SAFETY: as in `keep_statements`.
            #[expect(unsafe_code, reason = "SQLite's own name of the connection")]
            let db = unsafe { connection.handle() };
            idle.get(&(db as usize)).map(|idle| idle.count)
        });
        assert_eq!(kept, Some(3), "the table's, the count and the insert, each once, wait for their next use");
        let exec = |sql: &CStr| {
            // SAFETY: the connection is open, and the text ends with its NUL.
            #[expect(unsafe_code, reason = "SQLite's own function")]
            unsafe {
                rusqlite::ffi::sqlite3_exec(connection.handle(), sql.as_ptr(), None, null_mut(), null_mut())
            }
        };
        assert_eq!(exec(c"DELETE FROM t WHERE a = 1; INSERT INTO t VALUES (7); -- no more"), SQLITE_OK);
        assert_eq!(connection.query_row("SELECT count(*), max(a) FROM t", [], |row| row.get(1)), Ok(7));
        assert_ne!(exec(c"INSERT INTO t VALUES (8); INSERT INTO t VALUES (1, 2)"), SQLITE_OK);
        assert_eq!(connection.query_row("SELECT count(*), max(a) FROM t", [], |row| row.get(1)), Ok(8));
        connection.execute_batch("DROP TABLE t; CREATE TABLE t(b, a)").expect("another schema");
        assert_eq!(count().expect("it is prepared again"), 0);
        assert!(connection.execute("INSERT INTO t VALUES (?1)", [1]).is_err(), "the table has two columns now");
        connection.close().expect("nothing keeps it open");
    }
}
