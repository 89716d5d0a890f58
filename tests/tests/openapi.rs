//! The API asked everything that its own description lets one ask, and much that it doesn't: no failure
//! inside, no answer that isn't described, none that doesn't come. `tests/schemathesis` installs what asks.

use std::process::Command;
use std::time::Duration;
use tests::config::tap;
use tests::counts::API_EXAMPLES;
use tests::{Appliance, Config, Lab, eventually};

/// A failure's seed is in its report: the same again with `GUESTWAY_TEST_SEED`.
const SEED: &str = "1";

#[test]
fn the_api_answers_whatever_it_is_asked_as_it_is_described() {
    let lab = Lab::new();
    lab.host("ct1");
    let config = Config::new(&lab).uplink().network("lan0", "").container("ct1");
    let config = config.adapter("eth0", &tap("ct1", "eth0"), "addresses = [\"192.0.2.11\"]");
    let config = config.text("[[class]]\nname = \"near\"\nprefixes = [\"192.0.2.0/24\"]");
    let mut app = Appliance::start(&lab, &config, None);
    // It asks over TCP; the API is on a UNIX socket.
    let listen = "TCP-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr";
    let _bridge = lab
        .server()
        .spawn(&format!("socat -lf/dev/null {listen} UNIX-CONNECT:{}", app.socket().display()));
    eventually("the bridge listens", Duration::from_secs(5), || {
        std::net::TcpStream::connect("127.0.0.1:8080").is_ok()
    });
    let seed = std::env::var("GUESTWAY_TEST_SEED").unwrap_or_else(|_| SEED.to_owned());
    let output =
        Command::new(tests::appliance::target().join("schemathesis/venv/bin/schemathesis"))
            .args(["run", "http://127.0.0.1:8080/v1/openapi.json"])
            // It would end the appliance, as it should.
            .args(["--exclude-path", "/v1/shutdown"])
            .args([
                "--checks",
                "not_a_server_error,status_code_conformance,content_type_conformance",
            ])
            .args(["--checks", "response_schema_conformance,unsupported_method"])
            .args(["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure"])
            // An event may be waited for for 30 s.
            .args(["--request-timeout", "35", "--warnings", "off", "--no-color", "--seed", &seed])
            // A connection that was kept may be closed just as it is used again.
            .args(["--request-retries", "2"])
            .args(["--max-examples", &API_EXAMPLES.now().to_string()])
            .current_dir(lab.dir())
            .env("HOME", lab.dir())
            .output()
            .expect("tests/schemathesis installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    // It goes on as if nothing had happened.
    app.must("start");
    app.must("show version");
    let status = app.terminate();
    assert!(status.success(), "{status}: {}", app.log());
}
