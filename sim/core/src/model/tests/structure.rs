//! Decision tables of what holds between rows.

use super::check;

#[test]
fn references_on_a_write() {
    check(
        r#"
        seed b1 {"name":"bed"}
        0@10 PUT p1 {"label":"a","bed_id":"b1"} => applied
        0@11 PUT p2 {"label":"a","bed_id":"b9"} => merged; owes p2.bed_id * 0/2<*
        row p2 {"bed_id":null}
        0@12 PATCH p1 {"bed_id":"b9"} old {"bed_id":"b1"} => merged; owes p1.bed_id * 0/3<*
        row p1 {"bed_id":null}
        0@13 PUT s1 {"plant_id":"p9"} => applied
        row s1 {"plant_id":"p9"}
        0@14 PUT l1 {"plant_id":"p3"} ; PUT p3 {"label":"late"} => rejected (no-such-parent); rolled back
        0@15 PUT p3 {"label":"first"} ; PUT l1 {"plant_id":"p3"} => applied; applied"#,
    );
    // Structure looks at what takes effect: this reference loses, and a stale one beside the edit is not looked at.
    check(
        r#"
        seed p1 {"label":"a"}
        seed l1 {"plant_id":"p1","text":"t"}
        seed l2 {"plant_id":"p9","text":"t"}
        0@10 PATCH l1 {"plant_id":null} old {"plant_id":"p1"} => rejected (not-null)
        0@11 PATCH l2 {"text":"u"} old {"text":"t"} => applied"#,
    );
}

#[test]
fn references_on_a_delete() {
    check(
        r#"
        seed p1 {"label":"a"}
        seed s1 {"plant_id":"p1"}
        1@5 PUT l1 {"plant_id":"p1","text":"t"} ; PUT v1 {"leaf_id":"l1"} => applied; applied
        0@10 DELETE p1 old {"label":"a"} => applied; owes l1.* * 1/1<0/1|server; owes v1.* * 1/2<0/1|server
        row l1 absent
        row v1 absent
        row s1 {"plant_id":"p1"}
        1@20 PATCH l1 {"text":"u"} old {"text":"t"} => superseded (deleted) by 0/1; owes l1 * 1/3<0/1"#,
    );
    check(
        r#"
        seed b1 {"name":"bed"}
        seed p1 {"label":"a"}
        seed p2 {"label":"b","bed_id":"b1"}
        1@5 PATCH p1 {"bed_id":"b1"} old {"bed_id":null} => applied
        0@10 DELETE b1 old {"name":"bed"} => applied; owes p1.bed_id * 1/1<0/1|server
        row p1 {"bed_id":null}
        row p2 {"bed_id":null}
        2@9 PATCH p1 {"bed_id":"b1"} old {"bed_id":null} => merged; owes p1.bed_id * 2/1<*"#,
    );
    check(
        r#"
        seed o1 {"key":"k"}
        seed g1 {"code":"c","option_id":"o1"}
        0@10 DELETE o1 old {"key":"k"} => rejected (referenced)
        0@11 DELETE g1 old {"code":"c"} ; DELETE o1 old {"key":"k"} => applied; applied"#,
    );
}

#[test]
fn unique_keys_merge() {
    check(
        r#"
        0@10 PUT o1 {"key":"k","value":"a"} => applied
        1@5 PUT o2 {"key":"k","value":"b","unit":"m"} ; PATCH o2 {"value":"c"} old {"value":"b"} => merged into o1 by 0/1; superseded by 0/1; owes o1.value latest 1/1<0/1; owes o1.value latest 1/2<0/1
        row o1 {"key":"k","value":"a","unit":"m"}
        row o2 absent
        # Whoever sends it, and references too.
        2@20 PUT g1 {"code":"c","option_id":"o2"} => applied
        row g1 {"option_id":"o1"}
        2@21 PATCH o2 {"value":"d"} old {"value":"b"} => applied; owes o1.value latest 0/1<2/2
        row o1 {"value":"d"}
        1@30 PUT o3 {"key":"k"} => merged into o1
        0@31 PUT o4 {"key":"j","value":"x"} => applied
        0@32 PATCH o4 {"key":"k"} old {"key":"j"} => rejected (unique)
        0@33 PUT o4 {"key":"k"} => rejected (unique)
        0@34 PUT g2 {"code":"c"} => rejected (unique)
        0@35 PUT g2 {"code":null} => applied"#,
    );
    // Once the survivor is gone, the key is free; operations on the losing id still mean the survivor.
    check(
        r#"
        0@10 PUT o1 {"key":"k","value":"a"} => applied
        1@5 PUT o2 {"key":"k"} => merged into o1
        0@20 DELETE o1 old {"key":"k","value":"a"} => applied
        1@30 PATCH o2 {"value":"b"} old {} => superseded (deleted) by 0/2; owes o1 * 1/2<0/2
        2@40 PUT o3 {"key":"k"} => applied"#,
    );
}

#[test]
fn trees_close_no_cycle() {
    check(
        r#"
        seed b1 {"name":"one"}
        seed b2 {"name":"two"}
        seed b3 {"name":"three","parent_id":"b2"}
        0@10 PATCH b2 {"parent_id":"b1"} old {"parent_id":null} => applied
        1@20 PATCH b1 {"parent_id":"b3","name":"uno"} old {"parent_id":null,"name":"one"} => merged; owes b1.parent_id * 1/1<*
        row b1 {"parent_id":null,"name":"uno","updated_at":20}
        1@21 PATCH b1 {"parent_id":"b1"} old {"parent_id":null} => superseded (cycle); owes b1.parent_id * 1/2<*
        1@22 PUT b4 {"name":"four","parent_id":"b4"} => merged; owes b4.parent_id * 1/3<*
        row b4 {"parent_id":null}
        1@23 PATCH b3 {"parent_id":null} old {"parent_id":"b2"} ; PATCH b1 {"parent_id":"b3"} old {"parent_id":null} => applied; applied"#,
    );
}

#[test]
fn one_row_runs() {
    let second = 1_000_000;
    check(&format!(
        r#"
        seed u1 {{"on_now":0}}
        0@10 PATCH u1 {{"on_now":1,"speed":3,"beat":10}} old {{"on_now":0,"speed":null}} => applied
        1@{a} PUT u2 {{"on_now":1,"speed":5}} => merged; owes u2.motor * 1/1<*
        row u2 {{"on_now":0,"speed":5}}
        # A heartbeat counts when it is received, not as it says.
        0@20>{b} PATCH u1 {{"beat":20}} old {{"beat":10}} => applied
        1@{c} PATCH u2 {{"on_now":1}} old {{"on_now":1,"speed":5}} => merged; owes u2.motor * 1/2<*
        1@{d} PATCH u2 {{"on_now":1,"cycles":1}} old {{"on_now":1,"speed":5}} => applied; owes u1.motor * 0/1<1/3|server
        row u1 {{"on_now":0,"speed":3}}
        row u2 {{"on_now":1,"cycles":1}}
        1@{e} PATCH u2 {{"on_now":0}} old {{"on_now":1,"speed":5}} ; PATCH u1 {{"on_now":1}} old {{"on_now":0,"speed":3}} => applied; applied
        row u1 {{"on_now":1}}"#,
        a = 90 * second + 10,
        b = 90 * second + 20,
        c = 180 * second + 20,
        d = 180 * second + 21,
        e = 181 * second,
    ));
    // A seed row's heartbeat was never received.
    check(
        r#"
        seed u1 {"on_now":1}
        0@10 PUT u2 {"on_now":1} => applied
        row u1 {"on_now":0}"#,
    );
    // The other one is stopped when the start is received, not when its device made it.
    check(
        r#"
        seed u1 {"on_now":1,"speed":1}
        0@10>40 PUT u2 {"on_now":1} => applied
        1@20>50 PATCH u1 {"on_now":0,"speed":2} old {"on_now":1,"speed":1} => superseded by 0/1; owes u1.motor latest 1/1<0/1
        row u1 {"on_now":0,"speed":1}"#,
    );
}
