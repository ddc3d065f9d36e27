//! Long histories. (How long judging them takes is measured by the benchmarks, which have a clock.)

use serde_json::json;

use crate::checker::CHECKERS;
use crate::checker::testing::HistoryBuilder;
use crate::history::Op;

/// Some devices that edit some cards in turn.
fn busy(devices: u32, cards: usize, rounds: usize) -> HistoryBuilder {
    let mut builder = HistoryBuilder::new(devices as usize);
    let rows: Vec<_> = (0..cards).map(|_| builder.row("cards")).collect();
    let seed: Vec<_> = rows.iter().map(|row| (*row, Some(json!({"title": "seed"})))).collect();
    builder.server_write(&seed);
    for device in 0..devices {
        builder.apply(device);
    }
    for round in 0..rounds {
        let device = u32::try_from(round).expect("few rounds") % devices;
        let row = rows[round * 7 % cards];
        let text = format!("text {round} with some words that make it as long as a title may be");
        builder.tx(device, &[(Op::Patch, row, json!({"title": text}))]);
        builder.upload(device);
        let image = builder.server.get(&row).cloned();
        for other in 0..devices {
            builder.apply_rows(other, &[(row, image.clone())]);
        }
    }
    builder.end();
    builder
}

#[test]
fn a_long_history_is_judged_whole() {
    let builder = busy(5, 50, 2_000);
    for (name, check) in CHECKERS {
        if !matches!(*name, "policy" | "durability" | "coverage" | "claims") {
            builder.expect(check, &[]);
        }
    }
}
