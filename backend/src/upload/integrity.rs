//! What a write owes to other rows: references, trees, exclusive invariants and unique keys, in this order.

use std::sync::Arc;

use crate::operation::Operation;
use crate::policy::{Decision, RowWrite};
use crate::record::{Stored, Writer};
use crate::store::Session;
use crate::upload::execution::{Execution, OperationError};

impl<S: Session> Execution<'_, S> {
    /// Adjusts a write to what other rows require. `false`: nothing is left to write.
    pub(super) async fn enforce_integrity(
        &mut self,
        op: &Operation,
        stored: &Stored,
        write: &mut RowWrite,
        decision: &mut Decision,
        writer: &Arc<Writer>,
    ) -> Result<bool, OperationError> {
        if !self.enforce_references(op, stored, write, decision, writer).await? {
            return Ok(false);
        }
        self.enforce_trees(op, stored, write, decision, writer).await?;
        self.enforce_exclusives(op, stored, write, decision, writer).await?;
        self.enforce_uniques(op, stored, write).await?;
        Ok(true)
    }
}
