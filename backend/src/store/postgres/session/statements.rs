//! The statements on schema `sync_backend`.

pub(super) const TAKE_LOCKS: &str = "SELECT count(CASE WHEN shared THEN pg_advisory_xact_lock_shared(key)::text
         ELSE pg_advisory_xact_lock(key)::text END)
     FROM unnest($1::bigint[], $2::boolean[]) AS asked (key, shared)";
pub(super) const READ_LEDGER: &str = "SELECT c.epoch, c.forgotten_through, l.op_id, l.epoch, l.digest, l.answer::text
     FROM (SELECT $1::text AS subject, $2::text AS client) AS asked
     LEFT JOIN sync_backend.clients c ON c.subject = asked.subject AND c.client = asked.client
     LEFT JOIN sync_backend.ledger l
         ON l.subject = asked.subject AND l.client = asked.client AND l.op_id = ANY($3::bigint[])
     ORDER BY l.op_id, l.epoch";
pub(super) const READ_ALIASES: &str = "SELECT asked.n, a.survivor
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tbl, id, n)
     JOIN sync_backend.aliases a ON a.tbl = asked.tbl AND a.losing = asked.id";
pub(super) const READ_ROWS: &str = "SELECT asked.n, s.meta::text, NULL::bigint
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tbl, id, n)
     JOIN sync_backend.stamps s ON s.tbl = asked.tbl AND s.id = asked.id
     UNION ALL SELECT asked.n, t.tombstone::text, t.received_us
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (tbl, id, n)
     JOIN sync_backend.tombstones t ON t.tbl = asked.tbl AND t.id = asked.id";
pub(super) const PUT_STAMPS: &str = "INSERT INTO sync_backend.stamps (tbl, id, meta)
     SELECT tbl, id, meta::json FROM unnest($1::text[], $2::text[], $3::text[]) AS new (tbl, id, meta)
     ON CONFLICT (tbl, id) DO UPDATE SET meta = excluded.meta";
pub(super) const DELETE_STAMPS: &str =
    "DELETE FROM sync_backend.stamps s USING unnest($1::text[], $2::text[]) AS gone (tbl, id)
     WHERE s.tbl = gone.tbl AND s.id = gone.id";
pub(super) const PUT_TOMBSTONES: &str = "INSERT INTO sync_backend.tombstones (tbl, id, received_us, tombstone)
     SELECT tbl, id, received_us, tombstone::json
     FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS new (tbl, id, received_us, tombstone)
     ON CONFLICT (tbl, id) DO UPDATE SET received_us = excluded.received_us, tombstone = excluded.tombstone";
pub(super) const DELETE_TOMBSTONES: &str =
    "DELETE FROM sync_backend.tombstones t USING unnest($1::text[], $2::text[]) AS gone (tbl, id)
     WHERE t.tbl = gone.tbl AND t.id = gone.id";
pub(super) const ADD_ALIASES: &str = "INSERT INTO sync_backend.aliases (tbl, losing, survivor, received_us)
     SELECT tbl, losing, survivor, $4 FROM unnest($1::text[], $2::text[], $3::text[]) AS new (tbl, losing, survivor)
     ON CONFLICT (tbl, losing) DO UPDATE SET survivor = excluded.survivor, received_us = excluded.received_us";
pub(super) const ADD_CLIENT: &str = "INSERT INTO sync_backend.clients (subject, client, epoch) VALUES ($1, $2, $3)
     ON CONFLICT (subject, client) DO UPDATE SET epoch = greatest(clients.epoch, excluded.epoch)";
pub(super) const ADD_LEDGER: &str = "INSERT INTO sync_backend.ledger
         (subject, client, op_id, epoch, tx_id, digest, received_us, answer)
     SELECT $1, $2, op_id, epoch, $3, digest, $4, answer::json
     FROM unnest($5::bigint[], $6::integer[], $7::bytea[], $8::text[]) AS new (op_id, epoch, digest, answer)";
pub(super) const ADD_CONFLICTS: &str = "WITH counted AS (
         UPDATE sync_backend.counters SET last = last + cardinality($3::text[]) WHERE name = 'conflicts'
         RETURNING last - cardinality($3::text[]) AS before
     )
     INSERT INTO sync_backend.conflicts (seq, at_us, subject, tbl, id, col, rule, loser, winner)
     SELECT before + n, $1, subject, tbl, id, col, rule, loser::json, winner::json
     FROM counted, unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
         WITH ORDINALITY AS new (subject, tbl, id, col, rule, loser, winner, n)";
pub(super) const ADD_NOTE: &str = "SELECT pg_logical_emit_message(true, $1::text, $2::text)::text";
pub(super) const FORGET_LEDGER: &str = "WITH gone AS (
         DELETE FROM sync_backend.ledger WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM sync_backend.ledger WHERE received_us < $1 ORDER BY received_us LIMIT 10000))
         RETURNING subject, client, op_id
     ), last AS (SELECT subject, client, max(op_id) AS op_id FROM gone GROUP BY subject, client)
     UPDATE sync_backend.clients c SET forgotten_through = greatest(c.forgotten_through, last.op_id)
     FROM last WHERE c.subject = last.subject AND c.client = last.client";
pub(super) const FORGET_TOMBSTONES: &str = "DELETE FROM sync_backend.tombstones WHERE received_us < $1";
pub(super) const FORGET_ALIASES: &str = "DELETE FROM sync_backend.aliases WHERE received_us < $1";
