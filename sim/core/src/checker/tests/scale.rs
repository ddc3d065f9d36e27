//! Long histories. (How long judging them takes is measured by the benchmarks, which have a clock.)

use serde_json::json;

use crate::checker::testing::HistoryBuilder;
use crate::checker::{CHECKERS, Context, Timeline};
use crate::history::Op;
use crate::promise::Claim;

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

/// One device that writes a row again and again, beside one that has not seen any of it.
fn hot_row(rounds: usize) -> HistoryBuilder {
    let mut builder = HistoryBuilder::new(2);
    let row = builder.row("cards");
    builder.server_write(&[(row, Some(json!({"title": "seed", "body": "seed"})))]);
    builder.apply(0);
    builder.apply(1);
    for round in 0..rounds {
        let (device, column) = if round % 2 == 0 { (0, "title") } else { (1, "body") };
        builder.tx(device, &[(Op::Patch, row, json!({column: format!("text {round}")}))]);
        let tx = builder.queued[device as usize][0].clone();
        let set = json!({column: format!("text {round}")});
        let image = builder.changed(row, &set);
        let answers = builder.applied_answers(device);
        builder.commit(Some((device, &tx)), &[(row, Some(image))], answers, Vec::new());
        builder.complete(device);
    }
    builder.apply(0);
    builder.apply(1);
    builder.end();
    builder.promises.claims = vec![Claim::GreatestStampStays];
    builder
}

/// The least time of three in which each checker judges the history.
fn times(builder: &HistoryBuilder) -> Vec<(&'static str, f64)> {
    let least = |check: &dyn Fn()| {
        let time = |_| {
            let begin = std::time::Instant::now();
            check();
            begin.elapsed().as_secs_f64()
        };
        (0..3).map(time).fold(f64::INFINITY, f64::min)
    };
    let ctx = Context { app: &builder.app, history: &builder.history, promises: &builder.promises };
    let timeline = Timeline::build(&ctx);
    let of = |(name, check): &(&'static str, crate::checker::Checker)| {
        (*name, least(&|| drop(std::hint::black_box(check(&ctx, &timeline)))))
    };
    CHECKERS.iter().map(of).collect()
}

#[test]
fn four_times_the_writes_of_one_row_do_not_take_sixteen_times_as_long() {
    let (few, many) = (times(&hot_row(40_000)), times(&hot_row(160_000)));
    for ((name, few), (_, many)) in few.into_iter().zip(many) {
        // A checker that looked at all pairs would take 16 times as long. What takes no time says nothing.
        assert!(many < 0.05 || many / few < 10.0, "{name}: {few} s, then {many} s");
    }
}
