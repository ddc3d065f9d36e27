//! Which planted defects were caught: the proof that the checkers find what they claim to find.

use serde::Serialize;
use sim_core::run::MutantResult;

use crate::terminal::{Align, Column, table};
use crate::words::{count, counted, visible};

/// One line for each defect, then how many were caught.
#[must_use]
pub fn text(mutants: &[MutantResult]) -> String {
    let columns = [
        Column::new("defect", Align::Left),
        Column::new("planted in", Align::Left),
        Column::new("scenario", Align::Left),
        Column::new("caught by", Align::Left),
        Column::new("plans", Align::Right),
        Column::new("smallest", Align::Right),
    ];
    let rows: Vec<Vec<String>> = mutants
        .iter()
        .map(|mutant| {
            let by = match (mutant.caught, &mutant.checker) {
                (true, Some(_)) => {
                    mutant.checkers.iter().map(|checker| visible(checker)).collect::<Vec<_>>().join(", ")
                }
                (true, None) => "caught".to_owned(),
                (false, _) => "NOT CAUGHT".to_owned(),
            };
            let smallest = mutant.smallest.map_or_else(|| "-".to_owned(), |operations| count(operations as u64));
            vec![
                visible(&mutant.name),
                mutant.place.name().to_owned(),
                visible(&mutant.scenario),
                by,
                count(u64::from(mutant.plans)),
                smallest,
            ]
        })
        .collect();
    let caught = mutants.iter().filter(|mutant| mutant.caught).count();
    let defects = counted(mutants.len() as u64, "planted defect", "planted defects");
    let mut text = table(&columns, &rows);
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{} of {defects} caught.\n", count(caught as u64)));
    text
}

/// `{"mutants":[{"name":…,"where":…,"caught":…,"checker":…,"plans":…}]}`.
#[must_use]
pub fn json(mutants: &[MutantResult]) -> String {
    #[derive(Serialize)]
    struct Mutants<'a> {
        mutants: &'a [MutantResult],
    }
    let mut text = serde_json::to_string_pretty(&Mutants { mutants }).expect("mutants hold names and numbers alone");
    text.push('\n');
    text
}
