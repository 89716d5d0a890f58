//! TCP between two hosts by `iperf3`, and what the receiver's kernel thought of the checksums.

use crate::counts::IPERF_SECONDS;
use crate::frames::ip;
use crate::host::Host;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How much longer than asked for a stream may take, seconds.
const PATIENCE_S: u32 = 20;

/// Streams TCP from `client` to `server_ip` for the seconds of the counts table: no second may pass
/// without data, and no segment may arrive with a wrong checksum. Returns the receiver's bits per
/// second.
#[track_caller]
pub fn streams(client: &Host, server: &Host, server_ip: &str) -> f64 {
    streams_for(IPERF_SECONDS.now(), client, server, server_ip)
}

/// As [`streams`], for some other time.
#[track_caller]
pub fn streams_for(seconds: u32, client: &Host, server: &Host, server_ip: &str) -> f64 {
    let bad_before = (bad_checksums(client), bad_checksums(server));
    let serving = server.spawn("nice -n -19 iperf3 -s -1 -J");
    let listening = || server.run("ss -Hltn").contains(":5201");
    crate::eventually("iperf3 listens", Duration::from_secs(5), listening);
    // A path that died would keep it for ever.
    let limit = seconds + PATIENCE_S;
    let text = client.run(&format!(
        "timeout {limit} nice -n -19 iperf3 -c {server_ip} -t {seconds} -J --connect-timeout 3000"
    ));
    drop(serving);
    let report: Value = serde_json::from_str(&text).expect("iperf3 -J");
    let intervals = report["intervals"].as_array().expect("intervals");
    assert!(intervals.len() >= seconds as usize, "{} intervals", intervals.len());
    for interval in intervals {
        let bytes = interval["sum"]["bytes"].as_f64().unwrap_or(0.0);
        assert!(bytes > 0.0, "a second without data: {}", interval["sum"]);
    }
    let bad_after = (bad_checksums(client), bad_checksums(server));
    assert_eq!(bad_before, bad_after, "segments with a wrong checksum arrived");
    let received = &report["end"]["sum_received"];
    assert!(received["bytes"].as_f64().unwrap_or(0.0) > 0.0, "nothing received: {report}");
    let rate = received["bits_per_second"].as_f64().expect("rate");
    println!("{} to {}: {:.2} Gbit/s", client.name(), server.name(), rate / 1e9);
    rate
}

/// Opens a connection from `client` to `server` and has a word go each way.
#[track_caller]
pub fn converses(client: &Host, server: &Host, server_ip: &str) {
    const PORT: u16 = 4_000;
    let listener = server.tcp_listener(PORT);
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut question = [0; 8];
        stream.read_exact(&mut question)?;
        stream.write_all(&question)
    });
    let to = SocketAddr::from((ip(server_ip), PORT));
    let asked = client.inside(move || -> std::io::Result<[u8; 8]> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"question")?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    });
    let names = (client.name(), server.name());
    match asked {
        Ok(answer) => assert_eq!(&answer, b"question", "{names:?}"),
        Err(error) => panic!("{names:?}: no TCP conversation: {error}"),
    }
    answering.join().expect("answering").expect("answered");
}

/// Sends bytes from `client` to `server`; an error if they do not arrive as they were.
pub fn delivers(client: &Host, server: &Host, server_ip: &str, bytes: &[u8]) -> Result<(), String> {
    const PORT: u16 = 4_001;
    const LIMIT: Duration = Duration::from_secs(10);
    let listener = server.tcp_listener(PORT);
    let taking = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut taken = Vec::new();
        stream.read_to_end(&mut taken)?;
        Ok(taken)
    });
    let to = SocketAddr::from((ip(server_ip), PORT));
    let given = bytes.to_vec();
    let sent = client.inside(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.write_all(&given)
    });
    let names = format!("{} to {}", client.name(), server.name());
    // Who has not connected is not waited for.
    sent.map_err(|error| format!("{names}: {error}"))?;
    let taken = taking.join().map_err(|_| format!("{names}: nobody takes it"))?;
    match taken.map_err(|error| format!("{names}: {error}"))? {
        taken if taken == bytes => Ok(()),
        taken => Err(format!("{names}: {} bytes of {} or others came", taken.len(), bytes.len())),
    }
}

/// Segments and datagrams that this host's kernel refused for their checksum.
pub fn bad_checksums(host: &Host) -> u64 {
    let text = host.run("cat /proc/net/snmp");
    let lines: Vec<&str> = text.lines().collect();
    let count = |pair: &[&str]| -> u64 {
        let names = pair[0].split_whitespace();
        let values = pair[1].split_whitespace();
        let bad = names.zip(values).filter(|(name, _)| *name == "InCsumErrors");
        bad.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    lines.chunks_exact(2).map(count).sum()
}
