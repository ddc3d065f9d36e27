//! What a writer starts from: the service that the store holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::job::{DurablePosition, StoreStatus};
use super::store::StoreError;
use super::writer::Writer;
use crate::service::Service;
use crate::storage::{Generation, SourceRow, StagedLookup, State, Storage};
use crate::sync_config::query::ParameterQuery;

impl Writer {
    /// Starts a service from what the store holds, if that is enough.
    pub(super) fn load(&mut self) -> Result<(), StoreError> {
        let found = self.store.meta()?;
        self.status = StoreStatus {
            lsn: found.lsn,
            source: found.source,
            layout: found.layout,
            snapshot_needed: found.snapshot_needed,
        };
        let generations = self.store.generations()?;
        self.stored = generations.iter().map(|generation| generation.number).collect();
        self.durable.send_replace(DurablePosition {
            lsn: found.lsn.unwrap_or(0),
            rejected_attempt: 0,
            snapshot_needed: found.snapshot_needed,
        });
        let (Some(lsn), Some(layout)) = (found.lsn, (self.settings.read_layout)(&self.status.layout)) else {
            return Ok(());
        };
        let wanted = match layout.sync_config(&self.settings.sync_config) {
            Ok(wanted) => Arc::new(wanted),
            Err(error) => {
                tracing::warn!(%error, "the sync config does not fit the tables as they were; waiting for the source");
                return Ok(());
            }
        };
        let mut state = State { last_op_id: found.last_op_id, replicated_lsn: lsn, ..State::default() };
        state.rows = self.store.rows(layout.schema.tables.len())?;
        for (client, counter, head) in self.store.write_checkpoints()? {
            state.write_checkpoints.set(&client, counter, head);
        }
        for stored in generations {
            let config = if stored.config == *wanted.text {
                Arc::clone(&wanted)
            } else {
                match layout.sync_config(&stored.config) {
                    Ok(config) => Arc::new(config),
                    Err(_) => continue,
                }
            };
            let mut generation = Generation::new(stored.number, config);
            generation.buckets = stored.buckets;
            fill_lookups(&mut generation, &state.rows);
            let place = if stored.number == found.active { &mut state.active } else { &mut state.next };
            *place = Some(generation);
        }
        if state.active.is_none() {
            return Ok(());
        }
        let config = (self.settings.configure)(layout.schema, wanted, layout.identities);
        let service = Service::new(config, Storage::of(state));
        self.current.replace(service);
        self.commit_group(Vec::new());
        Ok(())
    }
}

/// Fills the parameter index from the rows.
fn fill_lookups(generation: &mut Generation, rows: &[BTreeMap<Arc<str>, SourceRow>]) {
    let config = Arc::clone(&generation.config);
    for (table, queries) in config.lookups_by_table.iter().enumerate() {
        for (definition, query) in queries {
            let ParameterQuery::Lookup(lookup) = &config.definitions[*definition].parameters[*query] else {
                unreachable!("only queries with FROM are listed by table");
            };
            for (id, known) in rows.get(table).into_iter().flatten() {
                generation.update_lookup(StagedLookup {
                    generation: generation.number,
                    query: (*definition, *query),
                    id: id.clone(),
                    before: Default::default(),
                    after: lookup.index_entry(id, &known.row, config.time_format),
                });
            }
        }
    }
}
