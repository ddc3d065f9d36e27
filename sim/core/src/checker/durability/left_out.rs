//! Values that an insert-or-replace leaves out: gone on its device for a while, and kept by the server.

use fixtures::Row;

use super::edit::Edit;
use super::judge::Judge;
use super::transaction::JudgedTx;

impl<'a> Judge<'a, '_> {
    /// Counts the values that an insert-or-replace removed on its device by leaving their columns out, and that stay
    /// by the rule: columns that were not sent stay.
    pub(super) fn count_left_out(&mut self, at: &JudgedTx<'a>, edit: &Edit<'a>, before: &Row, after: &Row) {
        if !edit.put || edit.named != edit.row {
            return;
        }
        let seen = self.timeline.seen_row(at.device, at.tx_event, edit.row);
        let Some(shown) = self.timeline.row_at(edit.row, seen) else { return };
        let layout = self.layout(edit.row);
        let stays = |column: &usize| {
            let value = before.get(*column).filter(|value| !value.is_null());
            value.is_some()
                && layout.clock != Some(*column)
                && edit.cell(*column).is_none_or(|cell| cell.new.is_none())
                && value == after.get(*column)
                && value == shown.get(*column)
        };
        for _ in (0..layout.of_column.len()).filter(stays) {
            self.overridden("left-out-by-replace");
        }
    }
}
