//! The places between the parts of a plan's stack where something may be put in between. Worlds run whatever is there;
//! [`PassThrough`] changes nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use backend::{Policy, Rules, Store};
use fixtures::{App, Row};
use sim_network::Network;
use sim_service::changes::SourceTransaction;

/// All rows of a database: one map from id to row for each table of the schema.
pub type Rows = Vec<BTreeMap<Arc<str>, Row>>;

/// What passes through each seam. By default it passes unchanged.
pub trait Seams: Debug + Send + Sync {
    /// The rules that the backend is given.
    fn rules(&self, app: &App, rules: &Arc<Rules>) -> Arc<Rules> {
        let _ = app;
        rules.clone()
    }

    /// The policy that the backend asks.
    fn policy(&self, policy: Arc<dyn Policy>) -> Arc<dyn Policy> {
        policy
    }

    /// The store behind the upload endpoint.
    fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }

    /// The network as devices reach it.
    fn network(&self, network: Rc<dyn Network>) -> Rc<dyn Network> {
        network
    }

    /// What replication delivers of a transaction; of several parts, each but the first arrives a moment later than the
    /// one before.
    fn replicated(&self, transaction: SourceTransaction) -> Vec<SourceTransaction> {
        vec![transaction]
    }

    /// What the service takes for the source's head, where `last` is the last commit.
    fn head(&self, last: u64) -> u64 {
        last
    }

    /// What is remembered of the database when the replication slot is lost.
    fn remembered(&self, rows: &dyn Fn() -> Rows) -> Rows {
        let _ = rows;
        Rows::new()
    }

    /// What a new snapshot holds, with what was remembered when the slot was lost.
    fn snapshot(&self, rows: Rows, remembered: &Rows) -> Rows {
        let _ = remembered;
        rows
    }

    /// What the service is given in place of its rows after a compaction, if anything.
    fn compacted(&self, rows: &dyn Fn() -> Rows) -> Option<Rows> {
        let _ = rows;
        None
    }

    /// Whether servers still know a replaced key while tokens that it signed are good.
    fn keeps_replaced_keys(&self) -> bool {
        true
    }
}

/// Changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassThrough;

impl Seams for PassThrough {}
