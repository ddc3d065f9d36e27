//! How an upload endpoint is spoken to that is not ours: a small file, and presets of it. `file` reads it, `send` sends an
//! upload by it, `answer` says what the endpoint's answers mean.
//!
//! | Field | |
//! |---|---|
//! | `policy` | what the backend is held to; left out: the rules of policy.toml alone, and no model |
//! | `unit` | what a request is: `as-is` our own wire and backend (with `--annotate-commits`), `transaction` one transaction, `operation` one operation |
//! | `headers` | of each request; a value that begins with `$` is a variable of the environment |
//! | `request` | for `as-is` and `transaction`: `path`, `method` (POST); for `transaction`: `list`, the field that holds the operations, and `fields`: our part of an operation (`op_id`, `op`, `table`, `id`, `tx_id`, `data`, `old`, `client_id`) = its name there |
//! | `put`, `patch`, `delete` | for `operation`: `path` with `{table}` and `{id}`, `method`, `body` (`row` the data with the id, `data`, or none), `headers` |
//! | `answer` | `refused`: the statuses that end a transaction for good; `code` and `refused_codes`: a field of an error, and the beginnings of its value that do so; `failed`: `{ field, is }`, by which a 2xx says that it failed; `conflicts`: the path of our conflict records |
//!
//! What a client does on a status is the connector's to say: what `refused` and `refused_codes` do not name is tried
//! again, 400 and 413 too.

mod answer;
mod file;
mod send;
mod types;

pub use self::types::Mapping;
