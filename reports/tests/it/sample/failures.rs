//! Two failing plans: a lost update, and devices that differ in the end.

use fixtures::{App, Row, Value};
use reports::Failure;
use sim_core::history::{ConflictRecord, Lifecycle, Moment, Op, Phase, What, Who, Writer};
use sim_core::plan::{DeviceKind, EPOCH_US, Fault, Server};
use sim_core::run::AnomalyText;

use super::app::{STARS, TITLE};
use super::history::{HistoryBuilder, applied, text};

/// A write is overridden by one that had not seen it, without a conflict record.
pub(crate) fn lost_update(app: &App) -> Failure<'_> {
    let mut builder = HistoryBuilder::new(&[DeviceKind::Web, DeviceKind::Tauri], &["Plan trip"]);
    let offline = Fault::Offline { device: 1, for_us: 20_000_000 };
    let key = builder.begin_fault(1.0, &offline);
    let (first, tx0) =
        builder.edit(4.0, 0, "rename-note", 0, &[(TITLE, text("Plan trip"), text("Plan the trip to Rome"))]);
    builder.upload(4.012, 0, tx0, 1, Phase::Invoke, vec![]);
    builder.commit(4.055, 0, tx0, vec![]);
    builder.upload(4.090, 0, tx0, 1, Phase::Ok, vec![applied(1)]);
    builder.event(4.090, Who::Client(0), What::Complete { tx_id: tx0 });
    builder.apply(4.130, 0, &[0]);
    let (second, tx1) = builder.edit(
        9.0,
        1,
        "rename-note",
        0,
        &[(TITLE, text("Plan trip"), text("Trip 2026")), (STARS, Value::Int(1), Value::Int(2))],
    );
    builder.end_fault(21.0, key, &offline);
    let lossy = Fault::Lossy {
        device: 1,
        server: Server::Backend,
        request_lost: 0,
        reply_lost: 100,
        duplicated: 0,
        for_us: 3_000_000,
    };
    let key = builder.begin_fault(21.010, &lossy);
    builder.upload(21.100, 1, tx1, 1, Phase::Invoke, vec![]);
    let third = builder.commit(21.142, 1, tx1, vec![]);
    builder.apply(21.190, 0, &[0]);
    builder.upload(21.200, 1, tx1, 1, Phase::Info, vec![]);
    builder.end_fault(24.010, key, &lossy);
    builder.upload(26.200, 1, tx1, 2, Phase::Invoke, vec![]);
    builder.upload(26.260, 1, tx1, 2, Phase::Ok, vec![applied(1)]);
    builder.event(26.260, Who::Client(1), What::Complete { tx_id: tx1 });
    builder.apply(26.310, 1, &[0]);
    builder.finish(30.0, &[]);
    let records = builder.event(30.0, Who::Run, What::Conflicts { user: "ann".to_owned(), records: vec![] });
    let anomalies = vec![AnomalyText {
        checker: "durability".to_owned(),
        code: "override-without-record".to_owned(),
        what: "notes#0 title: the write of client/0 op 1 was overridden by one that had not seen it, and there is no record of it."
            .to_owned(),
        because: "Client/1 had seen \"Plan trip\" when it wrote; the rule `latest` lets its later write stay, but then a \
                  conflict record must name loser, winner, column and rule, so that the author can learn of it."
            .to_owned(),
        evidence: vec![
            "4.000 s client/0 writes \"Plan the trip to Rome\"".to_owned(),
            "9.000 s client/1, which still shows \"Plan trip\", writes \"Trip 2026\"".to_owned(),
            "21.142 s commit 3 puts \"Trip 2026\" in its place".to_owned(),
            "30.000 s the conflicts on record are none".to_owned(),
        ],
        passes_plain_convergence: true,
        events: vec![first, second, third, records],
    }];
    Failure {
        scenario: "same-field".to_owned(),
        plan: builder.plan,
        history: builder.history,
        anomalies,
        replay: "syncstorm replay runs/5eed/same-field".to_owned(),
        app,
    }
}

/// A device that was killed never gets what the others agree on.
pub(crate) fn divergence(app: &App) -> Failure<'_> {
    let kinds = [DeviceKind::Web, DeviceKind::Tauri, DeviceKind::Mobile, DeviceKind::Web, DeviceKind::Mobile];
    let mut builder = HistoryBuilder::new(&kinds, &["Shopping", "Packing list"]);
    let crash = Fault::Crash { device: 3, after_steps: 1, down_us: 8_000_000 };
    let slow = Fault::Slow { device: 0, latency_us: 300_000, jitter_us: 50_000, bandwidth: 0, for_us: 6_000_000 };
    let slow_key = builder.begin_fault(1.5, &slow);
    let (_, tx2) = builder.edit(2.0, 2, "star-note", 1, &[(STARS, Value::Int(1), Value::Int(5))]);
    let key = builder.begin_fault(2.5, &crash);
    builder.upload(2.510, 2, tx2, 1, Phase::Invoke, vec![]);
    builder.event(2.520, Who::Client(3), What::Lifecycle(Lifecycle::Killed(Moment::Idle)));
    builder.commit(2.560, 2, tx2, vec![]);
    builder.upload(2.600, 2, tx2, 1, Phase::Ok, vec![applied(1)]);
    for device in [1, 4, 2] {
        builder.apply(2.640 + f64::from(device) / 100.0, device, &[1]);
    }
    let (_, tx0) = builder.transaction(
        3.0,
        0,
        "tidy-up",
        vec![
            (Op::Delete, 0, vec![], vec![]),
            (Op::Patch, 1, vec![(TITLE, text("Packing"))], vec![(TITLE, text("Packing list"))]),
        ],
    );
    builder.upload(3.010, 0, tx0, 1, Phase::Invoke, vec![]);
    builder.upload(33.010, 0, tx0, 1, Phase::Info, vec![]);
    builder.end_fault(33.2, slow_key, &slow);
    builder.upload(38.010, 0, tx0, 2, Phase::Invoke, vec![]);
    let commit = builder.commit(
        38.050,
        0,
        tx0,
        vec![ConflictRecord {
            row: 0,
            column: None,
            rule: "delete".to_owned(),
            loser: Writer::Client { device: 4, op_id: 1 },
            winner: Writer::Client { device: 0, op_id: 1 },
        }],
    );
    builder.upload(38.090, 0, tx0, 2, Phase::Ok, vec![applied(1), applied(2)]);
    for device in [1, 2, 4] {
        builder.apply(38.1 + f64::from(device) / 100.0, device, &[0, 1]);
    }
    builder.end_fault(40.5, key, &crash);
    builder.event(40.5, Who::Client(3), What::Lifecycle(Lifecycle::Started));
    let old: Row = vec![text("Packing list"), Value::Int(1), Value::Time(EPOCH_US)].into();
    builder.finish(60.0, &[(3, 1, old)]);
    let last = builder.history.events.len() - 2;
    let anomalies = vec![AnomalyText {
        checker: "convergence".to_owned(),
        code: "device-differs".to_owned(),
        what: "client/3 shows notes#1 title \"Packing list\", the server has \"Packing\".".to_owned(),
        because: "After settling, every device shows the server's rows.".to_owned(),
        evidence: vec!["60.000 s client/3 reads notes#1".to_owned()],
        passes_plain_convergence: false,
        events: vec![commit, last],
    }];
    Failure {
        scenario: "everything".to_owned(),
        plan: builder.plan,
        history: builder.history,
        anomalies,
        replay: "syncstorm replay runs/5eed/everything".to_owned(),
        app,
    }
}
