//! The server over a real socket, with a backend that only these tests have.

use crate::api::backend::{Action, Request, Show};
use crate::api::fake::Lab;
use crate::api::paths::BODY_LIMIT;
use crate::model::{Change, MacTarget, Via};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn kind(&self) -> String {
        self.json()["error"]["kind"].as_str().unwrap_or_default().to_owned()
    }

    fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn read_response(mut stream: UnixStream) -> Response {
    let mut bytes = Vec::new();
    // A server that closes while we still write resets the connection; what it said comes first.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

fn send_raw(socket: &Path, bytes: &[u8]) -> Response {
    let mut stream = connect(socket);
    let _ = stream.write_all(bytes);
    read_response(stream)
}

fn send(lab: &Lab, method: &str, path: &str, body: &str) -> Response {
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    send_raw(&lab.socket, text.as_bytes())
}

fn get(lab: &Lab, path: &str) -> Response {
    send(lab, "GET", path, "")
}

#[test]
fn every_show_is_answered_with_its_view() {
    let lab = Lab::start();
    for (path, pointer, want) in [
        ("/v1/version", "/dpdk", json!("22.11.11")),
        ("/v1/guests", "/0/guest", json!("ct1")),
        ("/v1/guests/ct1", "/adapters/0/guest-side/addresses/0/state", json!("probing")),
        ("/v1/guests/ct1/adapters", "/0/server-side/port", json!("ct1/eth0")),
        ("/v1/guests/ct1/adapters/eth0", "/mode", json!("host-routed")),
        ("/v1/guests/ct1/drops", "/adapters/0/drops/spoofed-ip", json!(7)),
        ("/v1/networks", "/0/attach/uplink/vlan", json!(100)),
        ("/v1/networks/lan0", "/members/0/adapter", json!("vm1/eth0")),
        ("/v1/networks/lan0/macs", "/0/kind", json!("registered")),
        ("/v1/ports", "/0/rx-queues/0/worker", json!(1)),
        ("/v1/ports/up0", "/kind", json!("uplink")),
        ("/v1/ports/up0/stats", "/rx-pkts", json!(100)),
        ("/v1/ports/up0/xstats", "/xstats/0/name", json!("rx_good_packets")),
        ("/v1/stats", "/0/drops/no-route", json!(7)),
        ("/v1/xstats", "/0/port", json!("up0")),
        ("/v1/routes", "/next", json!("203.0.113.11/32")),
        ("/v1/routes?after=203.0.113.11%2F32&limit=5", "/routes/0/to/via", json!("203.0.113.11")),
        ("/v1/lookup/203.0.113.65", "/verdict", json!("forward")),
        ("/v1/neighbors", "/0/state", json!("reachable")),
        ("/v1/workers", "/0/loop-time/p99-ns", json!(1500)),
        ("/v1/workers", "/0/late-beats", json!(2)),
        ("/v1/drops", "/dropped", json!(7)),
        ("/v1/counters", "/read-at-ms", json!(5000)),
        ("/v1/counters", "/workers/0/busy-ns", json!(1_500_000_000_u64)),
        ("/v1/counters", "/ports/0/traffic/tx-pkts", json!(93)),
        ("/v1/counters", "/adapters/0/traffic/rx-bytes", json!(1200)),
        ("/v1/counters", "/adapters/0/rate/in", json!(10_000_000)),
        ("/v1/config", "/text", json!("[appliance]\n")),
        ("/v1/config/diff", "/same", json!(false)),
        ("/v1/classes", "/0/prefixes/0", json!("192.0.2.0/24")),
        ("/v1/classes/near", "/class", json!("near")),
        ("/v1/events", "/events/0/kind", json!("link")),
        ("/v1/events?after=1&limit=5", "/events", json!([])),
        ("/v1/accounting", "/0/out-bytes", json!(120)),
        ("/v1/guests/ct1/accounting", "/0/adapter", json!("ct1/eth0")),
    ] {
        let response = get(&lab, path);
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        assert!(response.head.contains("content-type: application/json"), "{path}");
        assert_eq!(response.json().pointer(pointer), Some(&want), "{path}: {}", response.body);
    }
}

#[test]
fn every_change_and_action_reaches_the_backend() {
    let lab = Lab::start();
    let change = |method: &str, path: &str, body: &str| {
        let response = send(&lab, method, path, body);
        assert_eq!(response.status, 204, "{method} {path}: {}", response.body);
        serde_json::to_value(lab.fake.take_changes()).unwrap()
    };
    let made = change("PUT", "/v1/guests/ct2", r#"{"kind":"container"}"#);
    assert_eq!(made, json!([{"change": "guest-add", "guest": "ct2", "kind": "container"}]));
    let wish = r#"{"port":"tap,iface=x","addresses":["203.0.113.12/32"]}"#;
    let made = change("PUT", "/v1/guests/ct2/adapters/eth0", wish);
    assert_eq!(made[0]["wish"]["addresses"], json!(["203.0.113.12/32"]));
    let made = change("PATCH", "/v1/guests/ct2/adapters/eth0", r#"{"mode":"virtual-network"}"#);
    assert_eq!(made[0]["change"], "adapter-set");
    change("DELETE", "/v1/guests/ct2/adapters/eth0", "");
    change("DELETE", "/v1/guests/ct2", "");
    change("PUT", "/v1/networks/n", r#"{"attach":"host-only"}"#);
    change("PATCH", "/v1/networks/n", r#"{"attach":{"uplink":{"port":"up0"}},"max-macs":10}"#);
    change("PUT", "/v1/networks/n/server", r#"{"port":"tap,iface=s"}"#);
    change("DELETE", "/v1/networks/n/server", "");
    change("DELETE", "/v1/networks/n", "");
    change("PUT", "/v1/ports/up1", r#"{"device":"net_tap1","role":"uplink"}"#);
    change("PATCH", "/v1/ports/up1", r#"{"mtu":9000}"#);
    change("DELETE", "/v1/ports/up1", "");
    change("PUT", "/v1/neighbors/192.0.2.9", r#"{"mac":"02:00:00:00:00:09","dev":"up0"}"#);
    change("DELETE", "/v1/neighbors/192.0.2.9", "");
    change("PUT", "/v1/classes/local", r#"{"prefixes":["10.0.0.0/8"]}"#);
    change("DELETE", "/v1/classes/local", "");
    change("DELETE", "/v1/networks/lan0/macs/02:00:00:00:00:09", "");

    send(&lab, "PUT", "/v1/routes/203.0.113.64%2F26", r#"{"next-hop":"203.0.113.11"}"#);
    send(&lab, "PUT", "/v1/routes/203.0.113.64", r#"{"dev":"up0"}"#);
    let mac = "/v1/networks/lan0/macs/02%3A00:00:00:00:09";
    send(&lab, "PUT", mac, r#"{"adapter":{"guest":"ct1","adapter":"eth0"}}"#);
    assert_eq!(
        lab.fake.take_changes(),
        [
            Change::RouteAdd {
                prefix: "203.0.113.64/26".parse().unwrap(),
                via: Via::NextHop("203.0.113.11".parse().unwrap()),
            },
            Change::RouteAdd {
                prefix: "203.0.113.64/32".parse().unwrap(),
                via: Via::Dev("up0".parse().unwrap()),
            },
            Change::MacAdd {
                network: "lan0".parse().unwrap(),
                mac: "02:00:00:00:00:09".parse().unwrap(),
                to: MacTarget::Adapter {
                    guest: "ct1".parse().unwrap(),
                    adapter: "eth0".parse().unwrap(),
                },
            },
        ]
    );

    let act = |path: &str| {
        assert_eq!(send(&lab, "POST", path, "").status, 204, "{path}");
        lab.fake.take()
    };
    assert_eq!(act("/v1/start"), [Request::Act(Action::Start)]);
    assert_eq!(act("/v1/stats/clear"), [Request::Act(Action::ClearStats(None))]);
    assert_eq!(
        act("/v1/ports/ct1%2Feth0/stats/clear"),
        [Request::Act(Action::ClearStats("ct1/eth0".parse().ok()))]
    );
    assert_eq!(act("/v1/neighbors/flush"), [Request::Act(Action::NeighborFlush(None))]);
    assert_eq!(
        act("/v1/neighbors/192.0.2.9/flush"),
        [Request::Act(Action::NeighborFlush("192.0.2.9".parse().ok()))]
    );
    assert_eq!(
        act("/v1/networks/lan0/macs/flush"),
        [Request::Act(Action::MacFlush("lan0".parse().unwrap()))]
    );
    get(&lab, "/v1/ports/network:lan0/stats");
    let server_port = "network:lan0".parse().ok();
    assert_eq!(lab.fake.take(), [Request::Show(Show::PortStats(server_port))]);
}

#[test]
fn refusals_have_their_status_and_their_body() {
    let lab = Lab::start();
    for (method, path, body, status, kind) in [
        ("GET", "/v1/guests/nobody", "", 404, "not-found"),
        ("GET", "/v1/guests/ct1/adapters/eth9", "", 404, "not-found"),
        ("GET", "/v1/nothing", "", 404, "not-found"),
        ("GET", "/", "", 404, "not-found"),
        ("GET", "/v1/guests/", "", 404, "not-found"),
        ("POST", "/v1/guests", "", 405, "invalid"),
        ("DELETE", "/v1/batch", "", 405, "invalid"),
        ("BREW", "/v1/version", "", 405, "invalid"),
        ("PUT", "/v1/guests/twice", r#"{"kind":"vm"}"#, 409, "duplicate"),
        ("PUT", "/v1/guests/taken", r#"{"kind":"vm"}"#, 409, "conflict"),
        ("PUT", "/v1/guests/full", r#"{"kind":"vm"}"#, 409, "limit"),
        ("PUT", "/v1/guests/wrong", r#"{"kind":"vm"}"#, 422, "invalid"),
        ("POST", "/v1/shutdown", "", 503, "unavailable"),
        ("PUT", "/v1/guests/crash", r#"{"kind":"vm"}"#, 500, "internal"),
        // Bad parameters.
        ("GET", "/v1/guests/UPPER", "", 400, "invalid"),
        ("GET", "/v1/guests/a%20b", "", 400, "invalid"),
        ("GET", "/v1/guests/%ff", "", 400, "invalid"),
        ("GET", "/v1/guests/..%2F..%2Fetc", "", 400, "invalid"),
        ("GET", "/v1/lookup/1.2.3", "", 400, "invalid"),
        ("GET", "/v1/ports/a%2Fb%2Fc", "", 400, "invalid"),
        ("DELETE", "/v1/routes/10.0.0.0%2F99", "", 400, "invalid"),
        ("DELETE", "/v1/networks/lan0/macs/02:00", "", 400, "invalid"),
        ("GET", "/v1/routes?limit=0", "", 400, "invalid"),
        ("GET", "/v1/routes?limit=many", "", 400, "invalid"),
        ("GET", "/v1/routes?after=x", "", 400, "invalid"),
        ("GET", "/v1/routes?befor=10.0.0.0%2F8", "", 400, "invalid"),
        // Bad bodies.
        ("PUT", "/v1/guests/a", "", 400, "invalid"),
        ("PUT", "/v1/guests/a", "{", 400, "invalid"),
        ("PUT", "/v1/guests/a", "\u{0}\u{1}", 400, "invalid"),
        ("PUT", "/v1/guests/a", r#"{"kind":"bird"}"#, 422, "invalid"),
        ("PUT", "/v1/guests/a", r#"{"kind":"vm","age":3}"#, 422, "invalid"),
        ("PUT", "/v1/guests/a", r#"["vm"]"#, 422, "invalid"),
        ("PATCH", "/v1/ports/up0", r#"{"mtu":70000}"#, 422, "invalid"),
        ("POST", "/v1/batch", "{}", 422, "invalid"),
        ("POST", "/v1/batch", r#"[{"change":"rename-all"}]"#, 422, "invalid"),
        ("POST", "/v1/batch", r#"[{"change":"guest-del","guest":"a","all":1}]"#, 422, "invalid"),
        ("POST", "/v1/batch", "[1,", 400, "invalid"),
    ] {
        let response = send(&lab, method, path, body);
        assert_eq!(response.status, status, "{method} {path} {body}: {}", response.body);
        assert_eq!(response.kind(), kind, "{method} {path} {body}");
        let message = response.message();
        assert!(!message.is_empty() && !message.contains('\n'), "{method} {path}: {message:?}");
        if status == 405 {
            assert!(response.head.contains("\nallow: "), "{method} {path}: {}", response.head);
        }
    }
    let bad = get(&lab, "/v1/guests/UPPER").message();
    assert!(bad.contains("UPPER") && bad.contains("a-z"), "{bad}");
}

#[test]
fn ten_thousand_changes_go_in_one_transaction() {
    let lab = Lab::start();
    let change = |n: u32| {
        json!({"change": "route-add", "prefix": format!("10.{}.{}.0/24", n >> 8, n & 255),
               "via": {"next-hop": "192.0.2.254"}})
    };
    let changes: Vec<Value> = (0..10_000).map(change).collect();
    let response = send(&lab, "POST", "/v1/batch", &Value::from(changes.clone()).to_string());
    assert_eq!((response.status, response.json()), (200, json!({"changes": 10_000})));
    assert_eq!(lab.fake.take_changes().len(), 10_000);

    let mut wrong = changes;
    wrong[7000] = json!({"change": "route-add", "prefix": "10.0.0.0/40", "via": {"dev": "up0"}});
    let response = send(&lab, "POST", "/v1/batch", &Value::from(wrong.clone()).to_string());
    assert_eq!((response.status, response.json()["error"]["change"].as_u64()), (422, Some(7000)));
    assert!(lab.fake.take_changes().is_empty());

    wrong[7000] = json!({"change": "guest-add", "guest": "taken", "kind": "vm"});
    let response = send(&lab, "POST", "/v1/batch", &Value::from(wrong).to_string());
    assert_eq!((response.status, response.json()["error"]["change"].as_u64()), (409, Some(7000)));
    assert_eq!(send(&lab, "POST", "/v1/batch", "[]").status, 200);
}

#[test]
fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let lab = Lab::start();
    let head = "POST /v1/batch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let announced = format!("{head}content-length: {}\r\n\r\n[", BODY_LIMIT + 1);
    assert_eq!(send_raw(&lab.socket, announced.as_bytes()).status, 413);

    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..=BODY_LIMIT / chunk.len() {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(&chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let response = send_raw(&lab.socket, &chunked);
    assert_eq!((response.status, response.kind().as_str()), (413, "limit"));
    assert_eq!(get(&lab, "/v1/version").status, 200);
}

#[test]
fn malformed_http_harms_nobody() {
    let lab = Lab::start();
    let huge_header = format!("GET /v1/version HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5000));
    for bytes in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /v1/version\r\n\r\n",
        "GET /v1/version HTTP/9.9\r\n\r\n",
        "\u{0}\u{1}\u{2}\u{3}",
        "GET /v1/version HTTP/1.1\r\nbad header\r\n\r\n",
        "POST /v1/batch HTTP/1.1\r\ncontent-length: -1\r\n\r\n[]",
        "POST /v1/batch HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n[]",
        "POST /v1/batch HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &huge_header,
        &many_headers,
    ] {
        let mut stream = connect(&lab.socket);
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let response = read_response(stream);
        let shown: String = bytes.chars().take(60).collect();
        assert!(response.status == 0 || (400..500).contains(&response.status), "{shown:?}");
    }
    assert_eq!(get(&lab, "/v1/version").status, 200);
}

#[test]
fn clients_that_stall_or_wait_do_not_delay_others() {
    let lab = Lab::start();
    // Half a head, half a body, a response never read, and a call that takes long.
    let stall = |bytes: &[u8]| {
        let mut stream = connect(&lab.socket);
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut stalled = Vec::new();
    for _ in 0..10 {
        stalled.push(stall(b"GET /v1/ver"));
        stalled.push(stall(b"POST /v1/batch HTTP/1.1\r\ncontent-length: 1000\r\n\r\n["));
        let many = b"GET /v1/openapi.json HTTP/1.1\r\n\r\n".repeat(20);
        stalled.push(stall(&many));
        stalled.push(stall(b"POST /v1/stop HTTP/1.1\r\n\r\n"));
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(&lab, "/v1/version").status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn connections_without_end_are_turned_away_and_places_come_back() {
    let lab = Lab::start();
    let flood: Vec<_> = (0..super::LIMITS.per_client).map(|_| connect(&lab.socket)).collect();
    let response = read_response(connect(&lab.socket));
    assert_eq!((response.status, response.kind().as_str()), (503, "unavailable"));
    drop(flood);
    let deadline = Instant::now() + Duration::from_secs(5);
    while get(&lab, "/v1/version").status != 200 {
        assert!(Instant::now() < deadline, "places never came back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_connection_carries_many_requests() {
    let lab = Lab::start();
    let one = "GET /v1/version HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let response = send_raw(&lab.socket, format!("{one}{one}{last}").as_bytes());
    assert_eq!(response.body.matches("HTTP/1.1 200").count(), 2);
}

#[test]
fn the_document_names_every_path_and_every_reference_leads_somewhere() {
    let lab = Lab::start();
    let document = get(&lab, "/v1/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let operations: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    assert_eq!(operations.len(), 68, "{operations:#?}");
    assert!(operations.contains("put /v1/guests/{guest}/adapters/{adapter}"));

    // What is documented exists: a wrong method on it is 405, never 404.
    for path in paths.keys() {
        let sample = path.replace("{ip}", "192.0.2.1").replace("{mac}", "02:00:00:00:00:01");
        let sample = sample.replace("{prefix}", "10.0.0.0%2F8").replace(['{', '}'], "");
        assert_eq!(send(&lab, "BREW", &sample, "").status, 405, "{sample}");
    }

    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is not described");
    }
    for name in ["Change", "AdapterWish", "Guest", "PortStats", "ErrorBody", "Refusal", "Via"] {
        assert!(schemas.contains_key(name), "{name}");
    }
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("503"), "{method} {path}");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
        }
    }
}

#[test]
fn every_failure_that_is_answered_is_documented() {
    let lab = Lab::start();
    let document = get(&lab, "/v1/openapi.json").json();
    let is_documented = |path: &str, method: &str, status: u16| {
        document["paths"][path][method]["responses"][status.to_string()].is_object()
    };
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            assert!(is_documented(path, method, 500), "{method} {path}");
            if !path.contains('{') {
                continue;
            }
            // No name, address, MAC or prefix.
            let bad = path.split('/').map(|part| if part.starts_with('{') { "%20" } else { part });
            let bad: Vec<&str> = bad.collect();
            let status = send(&lab, &method.to_uppercase(), &bad.join("/"), "{}").status;
            assert!(
                status >= 400 && is_documented(path, method, status),
                "{status} {method} {path}"
            );
        }
    }
    for (path, sample, want) in [
        ("/v1/routes", "/v1/routes?limit=0", 400),
        ("/v1/routes", "/v1/routes?after=x", 400),
        ("/v1/lookup/{ip}", "/v1/lookup/2001:db8::1", 422),
        ("/v1/guests/{guest}", "/v1/guests/nobody", 404),
    ] {
        assert_eq!(get(&lab, sample).status, want, "{sample}");
        assert!(is_documented(path, "get", want), "{want} {path}");
    }
}

#[test]
fn a_stopped_server_takes_its_socket_away() {
    let lab = Lab::start();
    let socket = lab.socket.clone();
    let (dir, began) = (lab.dir, Instant::now());
    drop(lab.server);
    assert!(!socket.exists());
    assert!(began.elapsed() < Duration::from_secs(3));
    drop(dir);
}
