use serde_json::{Value as Json, json};

use crate::checker::testing::with_seed_rows;
use crate::history::Op;

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
