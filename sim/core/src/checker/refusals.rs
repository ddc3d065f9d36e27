//! Whether enough was accepted for a scenario to prove anything, over all its plans together.

use std::collections::BTreeMap;

use crate::promise::Promises;

/// More than this percentage of refused transactions proves too little, unless a scenario says otherwise.
pub const REFUSED_PERCENT_MAX: u64 = 25;

/// Why a valid scenario proves nothing: nobody wrote anything, nothing was accepted, or too much was refused.
#[must_use]
pub fn why_nothing_is_proven(promises: &Promises, totals: &BTreeMap<String, u64>) -> Option<String> {
    let total = |name: &str| totals.get(name).copied().unwrap_or(0);
    let (finished, refused) = (total("finished"), total("refused"));
    let most = promises.refused_percent_max.unwrap_or(REFUSED_PERCENT_MAX);
    if total("operations") == 0 {
        return Some("no operation was queued by any device: nothing was tried".to_owned());
    }
    if finished == 0 {
        return Some("no transaction was answered: nothing was accepted, so that nothing is proven".to_owned());
    }
    if refused >= finished {
        return Some(format!("all {finished} transactions that were answered were refused: nothing is proven"));
    }
    (refused * 100 > finished * most).then(|| {
        let percent = refused * 100 / finished;
        format!("{refused} of {finished} transactions ({percent} percent) were refused; at most {most} percent may be")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(counts: &[(&str, u64)], most: Option<u64>) -> String {
        let promises = Promises { refused_percent_max: most, ..Promises::default() };
        let totals = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        why_nothing_is_proven(&promises, &totals).unwrap_or_default()
    }

    #[test]
    fn a_run_in_which_too_little_was_accepted_proves_nothing() {
        assert!(why(&[], None).starts_with("no operation was queued"));
        assert!(why(&[("operations", 9)], None).starts_with("no transaction was answered"));
        let all = why(&[("operations", 9), ("finished", 4), ("refused", 4)], Some(100));
        assert!(all.starts_with("all 4 transactions"), "{all}");
        let many = why(&[("operations", 9), ("finished", 8), ("refused", 3)], None);
        assert_eq!(many, "3 of 8 transactions (37 percent) were refused; at most 25 percent may be");
        assert_eq!(why(&[("operations", 9), ("finished", 8), ("refused", 2)], None), "");
        assert_eq!(why(&[("operations", 9), ("finished", 8), ("refused", 7)], Some(90)), "");
    }
}
