//! Sync configurations: what is refused and how, and which rows a client gets.

use serde_json::{Value as Json, json};
use sim_service::SyncConfig;

use crate::client::Client;
use crate::rig::{Rig, schema, shared_schema};

fn check_refused(config: &str, expect: &str) {
    let error = SyncConfig::parse(config, &shared_schema()).expect_err(config).to_string();
    assert!(error.contains(expect), "{config}\n{error}");
}

fn check_query(parameters: &str, data: &str, expect: &str) {
    let quoted = |text: &str| Json::from(text).to_string();
    let config = format!("bucket_definitions: {{d: {{parameters: {}, data: {}}}}}", quoted(parameters), quoted(data));
    check_refused(&config, expect);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    check_refused("x: [", "document: ");
    check_refused("[]", "document: must be a mapping");
    check_refused("{}", "must define something");
    check_refused("event_definitions: {}", "`event_definitions` is not known");
    check_refused("config: {edition: 3}", "config.edition: edition 3 is not known");
    check_refused("config: {storage_version: 3}", "storage version 3 is not known");
    check_refused("config: {timestamp_max_precision: seconds}", "`timestamp_max_precision` is not known");
    check_refused("bucket_definitions: {d: {data: [], colour: 1}}", "bucket_definitions.d: `colour` is not known");
    check_refused(
        "bucket_definitions: {d: {priority: 4, data: SELECT * FROM boxes}}",
        "d.priority: must be 0, 1, 2 or 3",
    );
    check_refused("bucket_definitions: {d: {data: []}}", "must list at least one query");
    check_refused("bucket_definitions: {d: {data: 7}}", "d.data: must be a text");
    check_refused("streams: {s: {query: SELECT * FROM boxes}}", "needs `config: {edition: 2}`");
    check_refused("{config: {edition: 2}, streams: {s: {}}}", "either `query` or `queries`");
    check_refused("{config: {edition: 2}, streams: {s: {with: {}, query: x}}}", "`with` is not known");

    let own = "SELECT request.user_id() AS person";
    check_query(own, "SELECT * FROM shelves WHERE owner = bucket.person", "d.data.0: no table `shelves`");
    check_query(own, "SELECT * FROM boxes WHERE shelf = bucket.person", "table `boxes` has no column `shelf`");
    check_query(own, "SELECT * FROM boxes WHERE owner = bucket.team", "no parameter query of this definition");
    check_query(own, "SELECT * FROM boxes", "`bucket.person` must be used by every data query");
    check_query(own, "SELECT * FROM boxes WHERE owner > bucket.person", "may meet only in");
    check_query(own, "SELECT * FROM boxes WHERE bucket.person IN (label)", "may meet only in");
    check_query(own, "SELECT * FROM boxes WHERE owner IN bucket.person", "must stand alone");
    check_query(own, "SELECT * FROM boxes WHERE owner = bucket.person OR size = 1", "may meet only in");
    check_query(own, "SELECT * FROM boxes WHERE owner = request.user_id()", "the request is not known in a data query");
    check_query(own, "SELECT * FROM boxes b JOIN notes n ON b.id = n.id", "joins are not known");
    check_query(
        own,
        "SELECT * FROM boxes WHERE owner = bucket.person LIMIT 1",
        "only SELECT, FROM and WHERE are known",
    );
    check_query(
        own,
        "SELECT DISTINCT * FROM boxes WHERE owner = bucket.person",
        "only SELECT, FROM and WHERE are known",
    );
    check_query(own, "SELECT label FROM boxes WHERE owner = bucket.person", "must select `id`");
    check_query(own, "SELECT id, size + 1 AS n FROM boxes WHERE owner = bucket.person", "operator `+` is not known");
    check_query(own, "SELECT id, abs(size) AS n FROM boxes WHERE owner = bucket.person", "function `abs`");
    check_query(own, "SELECT id, lower(label) FROM boxes WHERE owner = bucket.person", "needs a name");
    check_query(own, "DELETE FROM boxes", "must be one SELECT");
    check_query(own, "SELECT * FROM other.boxes WHERE owner = bucket.person", "only schema `public` is known");
    check_query("SELECT * FROM members", "SELECT * FROM boxes", "must name its outputs");
    check_query("SELECT auth.user_id() AS person", "SELECT * FROM boxes", "not a function of a bucket definition");
    check_query("SELECT 7 AS _priority", "SELECT * FROM boxes", "`_priority` must be 0, 1, 2 or 3");
    check_query("SELECT team FROM members WHERE person < request.user_id()", "SELECT * FROM boxes", "may meet only in");
    check_refused(
        "bucket_definitions: {d: {parameters: [SELECT 1 AS a, SELECT 1 AS b], data: SELECT * FROM boxes WHERE size = bucket.a}}",
        "d.parameters.1: all parameter queries of a definition must have the same outputs: `a`",
    );
}

/// Some rows; who gets which with these rules, as `id,id`.
async fn check_rows(rules: &str, request: Json, expect: &str) {
    let mut rig = Rig::new(shared_schema(), rules);
    for (id, owner, label, size) in [
        ("b1", json!("u1"), json!("a"), json!(1)),
        ("b2", json!("u2"), json!("B"), json!(2)),
        ("b3", json!("red"), json!(null), json!(null)),
        ("b4", json!(null), json!("[\"u1\",\"red\"]"), json!(4)),
    ] {
        rig.put("boxes", id, &json!({"owner": owner, "label": label, "size": size}));
    }
    rig.put("members", "m1", &json!({"person": "u1", "team": "red"}));
    rig.put("members", "m2", &json!({"person": "u2", "team": "blue"}));
    rig.commit().replicate();
    let mut client = Client::default();
    let mut body = json!({"raw_data": true});
    for (key, value) in request.as_object().expect("an object") {
        body[key] = value.clone();
    }
    client.take_all(&rig.open(body).await.settle().await);
    let ids: Vec<String> =
        client.rows().iter().map(|row| row.split([' ', '/']).nth(1).expect("an id").to_owned()).collect();
    assert_eq!(ids.join(","), expect, "{rules}");
}

fn definition(parameters: &str, data: &str) -> String {
    format!("bucket_definitions: {{d: {{parameters: \"{parameters}\", data: \"{data}\"}}}}")
}

#[tokio::test(start_paused = true)]
async fn bucket_definitions_choose_rows() {
    let all = |condition: &str| format!("bucket_definitions: {{d: {{data: \"SELECT * FROM boxes{condition}\"}}}}");
    let nothing = json!({});
    check_rows(&all(""), nothing.clone(), "b1,b2,b3,b4").await;
    check_rows(&all(" WHERE size > 1"), nothing.clone(), "b2,b4").await;
    check_rows(&all(" WHERE size >= 1 AND NOT size = 2"), nothing.clone(), "b1,b4").await;
    check_rows(&all(" WHERE size <> 1"), nothing.clone(), "b2,b4").await;
    check_rows(&all(" WHERE size IS NULL OR label = 'a'"), nothing.clone(), "b1,b3").await;
    check_rows(&all(" WHERE owner IS NOT NULL"), nothing.clone(), "b1,b2,b3").await;
    check_rows(&all(" WHERE size IN (1, 4)"), nothing.clone(), "b1,b4").await;
    check_rows(&all(" WHERE size NOT IN (1, 4)"), nothing.clone(), "b2").await;
    check_rows(&all(" WHERE lower(label) = 'b'"), nothing.clone(), "b2").await;
    check_rows(&all(" b WHERE b.label || b.size = 'a1'"), nothing.clone(), "b1").await;
    check_rows(&all(" WHERE label ->> '$' IS NULL AND id = 'b3'"), nothing.clone(), "b3").await;

    let own = "SELECT * FROM boxes WHERE owner = bucket.p";
    check_rows(&definition("SELECT request.user_id() AS p", own), nothing.clone(), "b1").await;
    check_rows(&definition("SELECT token_parameters.user_id AS p", own), nothing.clone(), "b1").await;
    check_rows(&definition("SELECT request.jwt() ->> 'sub' AS p", own), nothing.clone(), "b1").await;
    check_rows(&definition("SELECT request.jwt() ->> '$.sub' AS p", own), nothing.clone(), "b1").await;
    let wants = json!({"parameters": {"p": "u2", "size": 2, "deep": {"er": "red"}}});
    check_rows(&definition("SELECT request.parameters() ->> 'p' AS p", own), wants.clone(), "b2").await;
    check_rows(&definition("SELECT request.parameter('p') AS p", own), wants.clone(), "b2").await;
    check_rows(&definition("SELECT user_parameters.p AS p", own), wants.clone(), "b2").await;
    check_rows(&definition("SELECT request.parameter('$.deep.er') AS p", own), wants.clone(), "b3").await;
    check_rows(&definition("SELECT request.parameter('none') AS p", own), wants.clone(), "").await;
    let gate = "SELECT request.user_id() AS p WHERE request.jwt() ->> 'aud' = 'powersync-dev'";
    check_rows(&definition(gate, own), nothing.clone(), "b1").await;
    let gate = "SELECT request.user_id() AS p WHERE request.jwt() ->> 'role' = 'admin'";
    check_rows(&definition(gate, own), nothing.clone(), "").await;
    let team = "SELECT team AS p FROM members WHERE person = request.user_id()";
    check_rows(&definition(team, own), nothing.clone(), "b3").await;
    let other = "SELECT team AS p FROM members WHERE person = request.user_id() AND team <> 'red'";
    check_rows(&definition(other, own), nothing.clone(), "").await;
    let both =
        "SELECT m.team AS p, request.parameter('size') AS s FROM members AS m WHERE request.user_id() = m.person";
    let sized = "SELECT * FROM boxes WHERE owner = bucket.p AND size = bucket.s";
    check_rows(&definition(both, sized), wants.clone(), "").await;
    let pair = "SELECT request.parameter('p') AS p, request.parameter('size') AS s";
    check_rows(&definition(pair, sized), wants, "b2").await;
    let shared = "SELECT * FROM boxes WHERE bucket.p IN label AND size > 1";
    check_rows(&definition("SELECT request.user_id() AS p", shared), nothing.clone(), "b4").await;
    let some = json!({"parameters": {"ids": ["u2", "red", "red", null], "id": 7}});
    let listed = "SELECT owner AS p FROM boxes WHERE owner IN request.parameter('ids')";
    check_rows(&definition(listed, own), some.clone(), "b2,b3").await;
    let listed = "SELECT owner AS p FROM boxes WHERE owner IN request.parameters() ->> 'ids' AND size = 2";
    check_rows(&definition(listed, own), some.clone(), "b2").await;
    check_rows(&definition("SELECT owner AS p FROM boxes WHERE owner IN user_parameters.id", own), some, "").await;
    let members = "SELECT 'u2' AS p FROM boxes WHERE request.user_id() IN label";
    check_rows(&definition(members, own), nothing.clone(), "b2").await;
    check_rows(&all(" WHERE 'red' IN label"), nothing.clone(), "b4").await;
    check_rows(&all(" WHERE (NOT 'red' IN label) OR label = 'a'"), nothing.clone(), "b1,b2").await;
    check_rows(
        &definition("SELECT request.user_id() AS p", own),
        json!({"streams": {"include_defaults": false, "subscriptions": []}}),
        "",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn streams_choose_rows() {
    let stream = |options: &str, query: &str| {
        format!("{{config: {{edition: 2}}, streams: {{s: {{{options} query: \"{query}\"}}}}}}")
    };
    let auto = |query: &str| stream("auto_subscribe: true,", query);
    let nothing = json!({});
    check_rows(&auto("SELECT * FROM boxes"), nothing.clone(), "b1,b2,b3,b4").await;
    check_rows(&auto("SELECT * FROM boxes WHERE owner = auth.user_id()"), nothing.clone(), "b1").await;
    check_rows(&auto("SELECT * FROM boxes WHERE owner = auth.parameter('sub') AND size = 1"), nothing.clone(), "b1")
        .await;
    let team = "SELECT * FROM boxes WHERE owner IN (SELECT team FROM members WHERE person = auth.user_id())";
    check_rows(&auto(team), nothing.clone(), "b3").await;
    check_rows(&stream("", "SELECT * FROM boxes"), nothing.clone(), "").await;
    let by_owner = stream("", "SELECT * FROM boxes WHERE owner = subscription.parameter('owner')");
    let listed = stream("", "SELECT * FROM boxes WHERE owner IN subscription.parameter('owners')");
    let lists = json!({"streams": {"subscriptions": [
        {"stream": "s", "parameters": {"owners": ["u1", "u2"]}, "override_priority": null}]}});
    check_rows(&listed, lists, "b1,b2").await;
    let subscribe = |owners: &[&str]| {
        let one = |owner: &&str| json!({"stream": "s", "parameters": {"owner": owner}, "override_priority": null});
        json!({"streams": {"subscriptions": owners.iter().map(one).collect::<Vec<_>>()}})
    };
    check_rows(&by_owner, subscribe(&["u1"]), "b1").await;
    check_rows(&by_owner, subscribe(&["u1", "red"]), "b1,b3").await;
    check_rows(&auto("SELECT * FROM boxes"), json!({"streams": {"include_defaults": false, "subscriptions": []}}), "")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_says_why_a_client_gets_a_bucket() {
    let rules = "{config: {edition: 2}, streams: {
        a: {auto_subscribe: true, query: SELECT * FROM boxes},
        b: {priority: 2, query: \"SELECT * FROM notes WHERE owner = subscription.parameter('o')\"},
        c: {query: SELECT * FROM notes}}}";
    let rig = Rig::new(shared_schema(), rules);
    let one = |stream: &str, owner: &str, priority: Option<u8>| json!({"stream": stream, "parameters": {"o": owner}, "override_priority": priority});
    let subscriptions =
        [one("b", "x", None), one("b", "x", Some(1)), one("b", "y", None), one("a", "", None), one("none", "", None)];
    let lines = rig.open(json!({"streams": {"subscriptions": subscriptions}})).await.settle().await;
    let line: Json = serde_json::from_str(&lines[0]).expect("JSON");
    let bucket = |name: &str, priority: u8, subscriptions: Json| json!({"bucket": name, "checksum": 0, "count": 0, "priority": priority, "subscriptions": subscriptions});
    let expect = json!([
        bucket("1#a|0[]", 3, json!([{"default": 0}, {"sub": 3}])),
        bucket("1#b|0[\"x\"]", 1, json!([{"sub": 0}, {"sub": 1}])),
        bucket("1#b|0[\"y\"]", 2, json!([{"sub": 2}])),
    ]);
    assert_eq!(line["checkpoint"]["buckets"], expect);
    let expect = json!([
        {"name": "a", "is_default": true, "errors": []}, {"name": "b", "is_default": false, "errors": []}]);
    assert_eq!(line["checkpoint"]["streams"], expect);
}

async fn check_data(rules: &str, expect: &str) {
    let schema = schema(&["boxes _secret:text label:text at:timestamptz n:integer"]);
    let mut rig = Rig::new(schema, rules);
    rig.put("boxes", "b1", &json!({"_secret": "s", "label": "{\"a\":1}", "at": "2026-03-01T01:02:03.5Z", "n": 7}))
        .commit()
        .replicate();
    let lines = rig.open(json!({"raw_data": true})).await.settle().await;
    let line: Json = serde_json::from_str(&lines[1]).expect("JSON");
    let op = &line["data"]["data"][0];
    let text = |key: &str| op[key].as_str().expect("a text").to_owned();
    let bucket = line["data"]["bucket"].as_str().expect("a name");
    assert_eq!(format!("{bucket} {}/{} {}", text("object_type"), text("object_id"), text("data")), expect, "{rules}");
}

#[tokio::test(start_paused = true)]
async fn row_data_follows_the_select_list() {
    let rules = |config: &str, query: &str| {
        format!("{{config: {{{config}}}, bucket_definitions: {{d: {{data: \"{query}\"}}}}}}")
    };
    check_data(
        &rules("", "SELECT * FROM boxes"),
        r#"1#d[] boxes/b1 {"id":"b1","label":"{\"a\":1}","at":"2026-03-01 01:02:03.5Z","n":7}"#,
    )
    .await;
    check_data(
        &rules("edition: 2", "SELECT n, at AS t, id FROM boxes"),
        r#"1#d[] boxes/b1 {"n":7,"t":"2026-03-01T01:02:03.500000Z","id":"b1"}"#,
    )
    .await;
    check_data(
        &rules("storage_version: 1", "SELECT n AS id, _secret FROM public.boxes AS crates"),
        r#"d[] crates/7 {"id":7,"_secret":"s"}"#,
    )
    .await;
    check_data(
        &rules(
            "timestamps_iso8601: true, storage_version: 1, versioned_bucket_ids: true",
            "SELECT *, upper(label) AS label FROM boxes",
        ),
        r#"1#d[] boxes/b1 {"id":"b1","label":"{\"A\":1}","at":"2026-03-01T01:02:03.500000Z","n":7}"#,
    )
    .await;
    check_data(
        &rules("", "SELECT id, label ->> '$.a' AS a, label -> 'a' AS b, n = 7 AS c FROM boxes"),
        r#"1#d[] boxes/b1 {"id":"b1","a":1,"b":"1","c":1}"#,
    )
    .await;
}
