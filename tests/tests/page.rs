//! The page in a real browser: what it draws is what was sent and what the API says, a name is text whatever it
//! is, nothing of it breaks its own rules, and no other page is told anything.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tests::balance::{adapter, count, reasons, rows, stats};
use tests::browser::Browser;
use tests::config::{tap, vhost_user};
use tests::containers::{self, add_first};
use tests::contest::batch;
use tests::frames::{IPV4, UDP, ethernet, ipv4, mac, udp};
use tests::page::{ADDRESS, difference, drawn, request, served};
use tests::world::{OUT, address, venet};
use tests::{Appliance, Attach, Config, Lab, World, appliance, eventually};

const PORT: u16 = 9651;
/// Frames that a guest sends under another's name.
const FORGED: u64 = 20;
/// How long it may take until what the page draws is what the API counts.
const AGREE: Duration = Duration::from_secs(8);

/// Two containers on taps, one on venet0, and two VMs on a network of the host's own with the server, one of
/// which nobody has started.
fn world() -> World {
    let world = World::routed_with(Attach::Own, 2, |lab, config| {
        lab.host("gw-venet");
        for name in ["vm1", "ct3"] {
            lab.host(name);
        }
        let network =
            "[network.server]\nport = \"tap,iface=srv-lan0\"\naddresses = [\"10.0.0.1/24\"]";
        let on_lan0 = "mode = \"virtual-network\"\nnetwork = \"lan0\"";
        let socket = vhost_user(&lab.dir().join("<u>vm2.sock"));
        served(config.shared())
            .network("lan0", network)
            .container("ct3")
            .adapter("eth0", "shared:venet0", &Config::addresses(&["192.0.2.13/32"]))
            .vm("vm1")
            .adapter("eth0", &tap("vm1", "eth0"), on_lan0)
            .vm("vm2")
            .adapter("eth0", &socket, on_lan0)
    });
    venet(&world.lab, "add ct3 ct3 192.0.2.13");
    world.lab.known("vm1").address("eth0", "10.0.0.2/24");
    world
}

/// Real traffic in both modes, and some under a false name.
fn send(world: &World) {
    let (ct1, wire) = (world.ct(1), world.ct(1).wire("eth0"));
    for to in [&address(2), OUT, "192.0.2.13"] {
        ct1.run(&format!("ping -q -c 50 -i 0.002 -s 1000 {to}"));
    }
    world.lab.known("vm1").run("ping -q -c 50 -i 0.002 10.0.0.1");
    let side = &adapter(&world.app, "ct1", "eth0")["server-side"];
    let to = mac(side["mac"].as_str().expect("a MAC"));
    let forged = ipv4("192.0.2.99", &address(2), 64, UDP, &udp(7000, 7000, &[7; 100]));
    (0..FORGED).for_each(|_| wire.send(&ethernet(to, wire.mac(), IPV4, &forged)));
}

/// Everything that is counted is drawn to the unit.
fn disagreement(browser: &mut Browser, app: &Appliance) -> Option<String> {
    let guests = rows(app.json("show guest all"));
    assert_eq!(guests.len(), 5);
    for guest in &guests {
        let name = guest["guest"].as_str().expect("a name");
        let at = drawn(browser, &format!("[data-adapter='{name}/eth0']"));
        if let Some(difference) = difference(&at, &guest["adapters"][0]["stats"]) {
            return Some(format!("{name}: {difference}"));
        }
    }
    let ports = stats(app);
    for port in ["up0", "host", "venet0", "network:lan0"] {
        let at = drawn(browser, &format!("[data-port='{port}']"));
        if let Some(difference) = difference(&at, &ports[port]) {
            return Some(format!("{port}: {difference}"));
        }
    }
    let all = count(&app.json("show drops"), "dropped").to_string();
    let at = drawn(browser, "[data-fact=dropped]");
    (at["dropped"] != all).then(|| format!("dropped in all: {at} on the page, {all} by the API"))
}

#[test]
fn the_page_draws_what_was_sent_and_what_the_api_counts() {
    let world = world();
    let mut browser = Browser::start(world.lab.dir());
    browser.view(1500, 1000, false);
    browser.open(&format!("http://{ADDRESS}/"));
    browser.wait("document.querySelectorAll('.card').length === 5");
    send(&world);
    let mut wrong = None;
    eventually("the page and the API agree", AGREE, || {
        wrong = disagreement(&mut browser, &world.app);
        if let Some(wrong) = &wrong {
            println!("{wrong}");
        }
        wrong.is_none()
    });
    let ct1 = drawn(&mut browser, "[data-adapter='ct1/eth0']");
    let sent: u64 = ct1["rxPkts"].as_str().expect("a count").parse().expect("a number");
    assert!(sent >= 150 + FORGED, "{ct1}");
    assert_eq!(ct1["dropped"], FORGED.to_string());

    // Each hangs where it belongs, in its state.
    for (guest, state) in
        [("ct1", "up"), ("ct2", "up"), ("ct3", "up"), ("vm1", "up"), ("vm2", "down")]
    {
        let at = drawn(&mut browser, &format!("[data-adapter='{guest}/eth0']"));
        assert_eq!(at["state"], state, "{guest}");
    }
    for (guest, hub) in [("ct1", "router"), ("ct3", "venet0"), ("vm1", "lan0")] {
        let label = browser.value(&format!(
            "document.querySelector('[data-guest={guest}]').getAttribute('aria-label')"
        ));
        assert!(label.as_str().expect("a label").contains(&format!("on {hub}")), "{label}");
    }
    let said = browser.value("document.querySelector('#picture').textContent");
    let said = said.as_str().expect("text");
    for part in ["public network", "via 192.0.2.254", "192.0.2.1/24", "server 10.0.0.1/24"] {
        assert!(said.contains(part), "{part} is not drawn: {said}");
    }
    closer(&mut browser, &world);
    let target = appliance::target().join("page");
    std::fs::create_dir_all(&target).expect("a directory");
    browser.screenshot(&target.join("guest.png"));
    browser.press("Escape");
    browser.wait("document.querySelector('#details').hidden");
    browser.view(1500, 1000, true);
    browser.screenshot(&target.join("dark.png"));
    shows_text_as_text(&mut browser);
    follows_changes(&mut browser, &world);
    assert_eq!(browser.complaints, Vec::<String>::new());
    refuses_others(&mut browser);

    // What is shown stays when nobody answers any more, and is told to be old.
    browser.open(&format!("http://localhost:{PORT}/"));
    browser.wait("document.querySelector('#live').textContent === 'live'");
    world.end();
    browser.wait("document.body.classList.contains('stale')");
    let live = browser.value("document.querySelector('#live').textContent");
    assert!(live.as_str().expect("text").starts_with("no answer since "), "{live}");
    assert!(browser.value("document.querySelectorAll('.card').length").as_u64() > Some(3));
    browser.close();
}

/// One guest close up, opened by the keyboard: its plots, its drops by reason, the same numbers.
#[track_caller]
fn closer(browser: &mut Browser, world: &World) {
    browser.value("document.querySelector('[data-guest=ct1]').focus()");
    browser.press("Enter");
    browser.wait("document.querySelectorAll('#details .plot').length >= 2");
    // The page's picture is up to a second older than the API's answer.
    let mut row = Value::Null;
    eventually("the details and the API agree", AGREE, || {
        row = adapter(&world.app, "ct1", "eth0")["stats"].clone();
        let at = drawn(browser, "#details [data-adapter], #details section");
        let wrong = difference(&at, &row);
        if let Some(wrong) = &wrong {
            println!("{wrong}");
        }
        wrong.is_none()
    });
    for (reason, packets) in reasons(&row) {
        let at = drawn(browser, &format!("#details [data-reason='{reason}']"));
        assert_eq!(at["dropped"], packets.to_string(), "{reason}");
    }
    assert_eq!(reasons(&row)["spoofed-ip"], FORGED);
    // Pings of 1,000 bytes were seen as a rate once: the line has a hill.
    let drawn =
        "document.querySelector('#details .curve.out').getAttribute('d').split(/[ML]/).length > 2";
    browser.wait(drawn);
    let plots = browser.value(
        "[...document.querySelectorAll('#details .plot')].map((plot) => plot.getAttribute('aria-label')).join()",
    );
    let plots = plots.as_str().expect("text");
    assert!(plots.contains("Traffic of the last") && plots.contains("bit/s"), "{plots}");
    assert!(plots.contains("Packets of the last") && plots.contains("pkt/s"), "{plots}");
    assert!(!plots.contains("at most 10 bit/s"), "no traffic was seen: {plots}");
}

/// What is markup elsewhere is text here. Names have no such letters, so a socket's path is what can.
#[track_caller]
fn shows_text_as_text(browser: &mut Browser) {
    browser.click("[data-guest=vm2]");
    browser.wait("document.querySelector('#details h2')?.textContent === 'vm2'");
    browser.wait("document.querySelector('#details').textContent.includes('/<u>vm2.sock')");
    assert_eq!(browser.value("document.querySelectorAll('u').length"), 0);
    browser.click("#details .close");
    browser.wait("document.querySelector('#details').hidden");
}

/// What comes, goes and moves is drawn without a reload, and the filter finds it.
#[track_caller]
fn follows_changes(browser: &mut Browser, world: &World) {
    world.app.must("adapter set ct2 eth0 mode virtual-network network lan0");
    world.app.must("guest del vm2");
    world.app.must("port stop venet0");
    browser.wait("document.querySelector('[data-guest=ct2]').ariaLabel.includes('on lan0')");
    browser.wait("!document.querySelector('[data-guest=vm2]')");
    browser
        .wait("document.querySelector('[data-adapter=\"ct3/eth0\"]').dataset.state === 'stopped'");
    let filter = |text: &str| {
        format!(
            "(() => {{ const filter = document.querySelector('#filter'); filter.value = '{text}';
                filter.dispatchEvent(new Event('input'));
                return [...document.querySelectorAll('.card')].map((card) => card.dataset.guest).join(); }})()"
        )
    };
    assert_eq!(browser.value(&filter("stopped")), "ct3");
    assert_eq!(browser.value(&filter("192.0.2.13")), "ct3");
    assert_eq!(browser.value(&filter("LAN0 container")), "ct2");
    assert_eq!(browser.value(&filter("<b>")), "");
    browser.value(&filter(""));
    world.app.must("port start venet0");
}

/// Another page of the same browser is told nothing, be it by a name of its own for our address, by a request,
/// by a frame or by a script element.
#[track_caller]
fn refuses_others(browser: &mut Browser) {
    assert_eq!(request("GET", "/picture.json", ADDRESS).0, 200);
    assert_eq!(request("GET", "/", "localhost:9651").0, 200);
    assert_eq!(request("GET", "/picture.json", "evil.example:9651").0, 421);
    assert_eq!(request("GET", "/picture.json", "127.0.0.1").0, 421);
    assert_eq!(request("POST", "/picture.json", ADDRESS).0, 405);
    assert_eq!(request("GET", "/v1/guests", ADDRESS).0, 404);
    for path in ["", "picture.json"] {
        browser.open(&format!("http://evil.example:{PORT}/{path}"));
        browser.wait("document.body.textContent.startsWith('Host is not this page')");
    }
    let evil = serve_empty();
    browser.open(&format!("http://evil.example:{evil}/"));
    let tries = format!(
        "(async () => {{
            const other = 'http://{ADDRESS}';
            const read = (mode) => fetch(other + '/picture.json', {{ mode }})
                .then((answer) => answer.text()).catch(() => 'refused');
            const load = (tag, path) => new Promise((done) => {{
                const element = document.createElement(tag);
                element.onload = () => done(tag === 'iframe' && !element.contentDocument ? 'blocked' : 'loaded');
                element.onerror = () => done('refused');
                element.src = other + path;
                document.body.append(element);
            }});
            return [await read('cors'), await read('no-cors'), await load('script', '/units.js'),
                await load('img', '/icon.svg'), await load('iframe', '/')].join();
        }})()"
    );
    assert_eq!(browser.value(&tries), "refused,refused,refused,refused,blocked");
}

/// One picture has all of them as the API tells them. How long control is held by it is printed.
#[test]
fn a_thousand_guests_are_one_picture() {
    let lab = Lab::new();
    lab.host("gw-venet");
    let mut app = Appliance::start(&lab, &served(Config::new(&lab).shared()), None);
    // Half on the shared port, half on sockets of their own.
    batch(&app, &add_first(500));
    let own = (500..1000).flat_map(|number| {
        containers::add(number, &vhost_user(&lab.dir().join(format!("c{number}.sock"))))
    });
    batch(&app, &own.collect::<Vec<Value>>());
    // The API and the page are asked one after the other. What changes meanwhile by itself is the link of a port
    // that has just opened: unknown until control next looks at links, twice a second.
    let mut guests = Value::Null;
    eventually("control has looked at every link", Duration::from_secs(5), || {
        guests = app.json("show guest all");
        links(&guests).all(|link| link != "unknown")
    });
    let (status, body) = request("GET", "/picture.json", ADDRESS);
    assert_eq!(status, 200);
    let picture: Value = serde_json::from_str(&body).expect("JSON");
    for guest in guests.as_array_mut().expect("guests") {
        for adapter in guest["adapters"].as_array_mut().expect("adapters") {
            adapter.as_object_mut().expect("an adapter").remove("vhost-user");
        }
    }
    assert_eq!(guests.as_array().map(Vec::len), Some(1000));
    assert_eq!(picture["guests"], guests);
    println!("{} bytes, control held for {} ns", body.len(), picture["control-held-ns"]);
    app.stop();
}

/// The link of each adapter, as `show guest` has it.
fn links(guests: &Value) -> impl Iterator<Item = &Value> {
    let guests = guests.as_array().expect("guests").iter();
    let adapters = guests.flat_map(|guest| guest["adapters"].as_array().expect("adapters"));
    adapters.map(|adapter| &adapter["link"])
}

/// A web server with an empty page for everything; its port.
fn serve_empty() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    port
}

#[test]
fn without_the_key_nobody_listens_and_another_address_than_loopback_is_refused() {
    let lab = Lab::new();
    let mut app = Appliance::start(&lab, &Config::new(&lab), None);
    assert!(TcpStream::connect(ADDRESS).is_err());
    app.stop();
    let config = served(Config::new(&lab)).replace(ADDRESS, "0.0.0.0:9651");
    let said = appliance::fails(&lab, &config);
    assert!(said.contains("appliance.page: 0.0.0.0:9651 is no loopback address"), "{said}");
}
