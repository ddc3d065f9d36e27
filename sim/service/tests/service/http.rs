//! The HTTP surface around the lines: limits, compression, probes, preflight, stopping.

use std::io::Write as _;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::rig::{Lines, Rig, SECRET, claims, request, shared_schema, text_of, token};

const ALL: &str = "bucket_definitions: {all: {data: SELECT * FROM boxes}}";

fn authorization() -> String {
    format!("Token {}", token("dev-1", SECRET, &claims("u1", 0, 3600)))
}

#[tokio::test(start_paused = true)]
async fn only_so_many_streams_are_open_at_once() {
    let rig = Rig::with(shared_schema(), ALL, |config| config.max_streams = 2);
    let one = rig.open(json!({})).await;
    let _two = rig.open(json!({})).await;
    let ask = || request("POST", "/sync/stream", None, "{}");
    let response = rig.send(ask()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(text_of(response).await, "");
    drop(one);
    assert_eq!(rig.send(ask()).await.status(), StatusCode::UNAUTHORIZED, "a refused request takes no place");
    let _three = rig.open(json!({})).await;
}

#[tokio::test(start_paused = true)]
async fn lines_are_compressed_one_by_one_when_asked() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({})).commit().replicate();
    for (accepted, compressed) in [("gzip", true), ("zstd, gzip;q=0.5", true), ("br", false), ("gzip;q=0", false)] {
        let mut ask = request("POST", "/sync/stream", Some(&authorization()), r#"{"raw_data":true}"#);
        ask.headers_mut().insert("accept-encoding", accepted.parse().expect("a header"));
        let response = rig.send(ask).await;
        assert_eq!(response.headers().get("content-encoding").is_some(), compressed, "{accepted}");
        if !compressed {
            continue;
        }
        let mut body = response.into_body();
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        let mut client = Client::default();
        for _ in 0..3 {
            let chunk = body.frame().await.expect("a chunk").expect("no error").into_data().expect("data");
            decoder.write_all(&chunk).expect("gzip");
            decoder.flush().expect("gzip");
            let line = String::from_utf8(std::mem::take(decoder.get_mut())).expect("text");
            client.take(line.strip_suffix('\n').expect("a chunk is one line"));
        }
        assert_eq!(client.completions, ["complete 1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_raw_data_rows_are_nested() {
    let mut rig = Rig::new(shared_schema(), ALL);
    rig.put("boxes", "b1", &json!({"label": "a \"b\""})).commit().replicate();
    let lines = rig.open(json!({})).await.settle().await;
    let line: Json = serde_json::from_str(&lines[1]).expect("JSON");
    let expect = json!({"id": "b1", "owner": null, "label": "a \"b\"", "size": null});
    assert_eq!(line["data"]["data"][0]["data"], expect);
}

#[tokio::test(start_paused = true)]
async fn browsers_may_ask_from_anywhere() {
    let rig = Rig::new(shared_schema(), ALL);
    let ask = Request::builder().method("OPTIONS").uri("/sync/stream").body(Body::empty()).expect("a request");
    let response = rig.send(ask).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("access-control-allow-origin"), "*");
    assert_eq!(header("access-control-allow-headers"), "Content-Type, Authorization, User-Agent, X-User-Agent");
    assert_eq!(header("access-control-max-age"), "3600");
}

#[tokio::test(start_paused = true)]
async fn probes_follow_the_service() {
    let rig = Rig::new(shared_schema(), ALL);
    for (path, stopped, status) in [
        ("/probes/readiness", false, 200),
        ("/probes/liveness", false, 200),
        ("/probes/startup", false, 200),
        ("/probes/readiness", true, 400),
    ] {
        if stopped {
            rig.service.stop();
        }
        let response = rig.send(request("GET", path, None, "")).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let up = !stopped;
        let expect = json!({"ready": up, "started": up, "touched_at": "2026-03-01T00:00:00.000Z"});
        assert_eq!(serde_json::from_str::<Json>(&text_of(response).await).expect("JSON"), expect);
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_streams_and_refuses_requests() {
    let rig = Rig::new(shared_schema(), ALL);
    let mut stream: Lines = rig.open(json!({})).await;
    stream.settle().await;
    rig.service.stop();
    stream.settle().await;
    assert!(stream.ended());
    let response = rig.send(request("GET", "/write-checkpoint2.json", Some(&authorization()), "")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

async fn check_refusal(path: &str, content_type: &str, body: &str, expect: &str) {
    let rig = Rig::new(shared_schema(), ALL);
    let mut ask = request("POST", path, Some(&authorization()), body);
    ask.headers_mut().insert("content-type", content_type.parse().expect("a header"));
    let response = rig.send(ask).await;
    let status = response.status().as_u16();
    let error: Json = serde_json::from_str(&text_of(response).await).expect("JSON");
    assert_eq!(error["error"]["status"], status);
    let details = error["error"]["details"].as_str().unwrap_or("");
    assert_eq!(format!("{status} {} {details}", error["error"]["code"].as_str().expect("a code")), expect, "{body}");
}

#[tokio::test(start_paused = true)]
async fn refusals() {
    let (stream, checkpoint, json) = ("/sync/stream", "/sync/checkpoint-request", "application/json");
    check_refusal(stream, "text/plain", "{}", "415 FST_ERR_CTP_INVALID_MEDIA_TYPE ").await;
    check_refusal(stream, json, "[]", "400 PSYNC_S2001 [\"/: type must be object\"]").await;
    let large = format!("{{\"client_id\":\"{}\"}}", "x".repeat(2 << 20));
    check_refusal(stream, json, &large, "413 FST_ERR_CTP_BODY_TOO_LARGE ").await;
    let missing = "400 PSYNC_S2001 [\"/ must have required property 'client_id'\"]";
    check_refusal(checkpoint, json, "{\"checkpoint_request_id\":1}", missing).await;
    let range = "400 PSYNC_S2001 [\"Expected checkpoint_request_id between 1 and 9223372036854775807\"]";
    for id in ["0", "-1", "1.5", "\"x\"", "\"9223372036854775808\""] {
        let body = format!("{{\"client_id\":\"c\",\"checkpoint_request_id\":{id}}}");
        check_refusal(checkpoint, json, &body, range).await;
    }
}
