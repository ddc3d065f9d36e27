use serde_json::{Value as Json, json};

use crate::checker::testing::{HistoryBuilder, with_seed_rows};
use crate::history::{History, Op, Scope, What, Who};

#[test]
fn writes_a_line_an_event_in_our_names() {
    let mut builder = with_seed_rows();
    builder.tx(1, &[(Op::Patch, 1, json!({"title": "a \"quoted\" title"})), (Op::Delete, 3, Json::Null)]);
    builder.finish();
    let text = builder.history.to_jsonl(&builder.app);
    assert_eq!(text, builder.history.to_jsonl(&builder.app));
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(lines.len(), builder.history.events.len() + 1);
    assert_eq!(lines[0]["header"]["scenario"], "unit");
    assert_eq!(lines[0]["rows"][1], json!(["cards#1", "id-1"]));
    let find = |f: &str, who: &str, kind: &str| {
        lines
            .iter()
            .rfind(|line| line["f"] == f && line["who"] == who && line["kind"] == kind)
            .expect("the event is written")
    };
    let tx = find("tx", "client/1", "ok");
    assert_eq!(
        tx["rows"][0],
        json!({"row": "cards#1", "op_id": 1, "op": "PATCH", "set": {"title": "a \"quoted\" title"}, "old": {"title": "card"}})
    );
    let commit = find("commit", "server", "ok");
    assert_eq!(commit["rows"][0]["version"], json!([2, 1]));
    assert_eq!(
        commit["rows"][1],
        json!({"row": "memos#3", "op": "DELETE", "old": {"text": "memo"}, "version": [2, 2]})
    );
    let apply = find("apply", "client/0", "ok");
    assert_eq!(apply["rows"][1], json!({"row": "memos#3", "op": "DELETE", "version": [2, 2]}));
    assert_eq!(find("barrier", "run", "ok")["barrier"], "settle-again");
}

/// A row that is written again and again, and a device that shows what was never committed.
fn hot_row(commits: u32) -> History {
    let mut builder = with_seed_rows();
    for commit in 0..commits {
        builder.server_write(&[(1, Some(json!({"title": format!("title {commit}"), "hits": 1})))]);
        let own = builder.image(1, &json!({"title": format!("never committed {commit}")}));
        builder.event(Who::Client(0), What::Read { scope: Scope::Look, rows: vec![(1, Some(own))] });
    }
    builder.history
}

/// As long as writing takes at most this much more for each doubling, it is linear.
#[test]
fn writing_takes_time_by_the_length_of_the_history() {
    let app = crate::checker::testing::app();
    let time = |history: &History| {
        let runs = (0..5).map(|_| {
            let start = std::time::Instant::now();
            assert!(!history.to_jsonl(&app).is_empty());
            start.elapsed()
        });
        runs.min().expect("it ran")
    };
    let (short, long) = (hot_row(2_000), hot_row(32_000));
    let ratio = time(&long).as_secs_f64() / time(&short).as_secs_f64();
    assert!(ratio < 64.0, "16 times the events take {ratio:.1} times as long");
}

#[test]
fn an_image_names_its_last_version_however_often_its_row_looked_like_that() {
    let mut builder = with_seed_rows();
    for title in ["a", "b", "a"] {
        builder.server_write(&[(1, Some(json!({"title": title})))]);
    }
    let of = |builder: &mut HistoryBuilder, set: Option<Json>| {
        let image = set.map(|set| builder.image(1, &set));
        builder.event(Who::Client(0), What::Read { scope: Scope::Look, rows: vec![(1, image)] });
        let text = builder.history.to_jsonl(&builder.app);
        let line: Json = serde_json::from_str(text.lines().last().expect("there are lines")).expect("it is JSON");
        line["rows"][0]["version"].clone()
    };
    assert_eq!(of(&mut builder, Some(json!({"title": "a"}))), json!([4]));
    assert_eq!(of(&mut builder, Some(json!({"title": "b"}))), json!([3]));
    assert_eq!(of(&mut builder, Some(json!({"title": "c"}))), Json::Null);
    assert_eq!(of(&mut builder, None), Json::Null);
    builder.server_write(&[(1, None)]);
    assert_eq!(of(&mut builder, None), json!([5]));
}
