//! The page with more guests than a screen has room for: each is drawn where nothing else is, can be read, and says
//! what the API says.

use serde_json::{Value, json};
use std::time::Duration;
use tests::balance::rows;
use tests::browser::Browser;
use tests::config::vhost_user;
use tests::contest::batch;
use tests::page::{ADDRESS, difference, drawn, served};
use tests::world::address;
use tests::{Attach, Lab, World, appliance, eventually};

/// Guests in all, two of which send.
const GUESTS: usize = 120;
/// Where they are, by turns; one name is as long as names may be.
const PLACES: [&str; 6] =
    ["router", "venet0", "lan0", "a-network-of-a-name-that-is-long", "lan7", "lan8"];
/// The widest letter, as often as a name may have it.
const WIDE: &str = "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww";

/// The wish for an adapter of guest `number` at a place: every second on a tap of its own, which is up at once, the
/// others on sockets to which nobody comes.
fn wish(lab: &Lab, number: usize, place: &str, adapter: usize) -> Value {
    let port = match (place, number % 2) {
        ("venet0", _) => "shared:venet0".to_owned(),
        (_, 0) => format!("tap,iface=t{number}-{adapter}"),
        _ => vhost_user(&lab.dir().join(format!("g{number}-{adapter}.sock"))),
    };
    let host = format!("10.{adapter}.0.{number}/32");
    match place {
        "router" | "venet0" => json!({ "port": port, "addresses": [host], "mode": "host-routed" }),
        network => json!({ "port": port, "mode": "virtual-network", "network": network }),
    }
}

/// Guest `number`: every third a VM (none of those on the shared port), every fifth with a second adapter elsewhere,
/// one with a wide name.
fn guest(lab: &Lab, number: usize) -> Vec<Value> {
    let kind = if number % 3 == 2 { "vm" } else { "container" };
    let name = if number == 3 { WIDE.to_owned() } else { format!("guest{number}") };
    let adapters = if number.is_multiple_of(5) { 2 } else { 1 };
    let add = |adapter: usize| {
        let place = PLACES[(number + adapter) % PLACES.len()];
        let wish = wish(lab, number, place, adapter);
        json!({ "change": "adapter-add", "guest": name, "adapter": format!("eth{adapter}"), "wish": wish })
    };
    let mut changes = vec![json!({ "change": "guest-add", "guest": name, "kind": kind })];
    changes.extend((0..adapters).map(add));
    changes
}

/// What stands in another's place, or out of its own; texts by what they say.
const WRONG: &str = "(() => {
    const parts = [...document.querySelectorAll('#picture .card, #picture .hub, #picture .port, #picture .cloud')];
    const name = (part) => part.getAttribute('aria-label') ?? part.querySelector('title').textContent;
    const box = (node) => node.getBoundingClientRect();
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
    const within = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
    const wrong = [];
    const pairs = (list, of, say) => list.forEach((one, at) => list.slice(at + 1).forEach((other) => {
        if (meet(of(one), of(other))) wrong.push(`${say(one)} | ${say(other)}`);
    }));
    pairs(parts, (part) => box(part.querySelector('.box')), name);
    for (const part of parts) {
        const texts = [...part.querySelectorAll('text')].filter((text) => text.textContent !== '');
        pairs(texts, box, (text) => `in ${name(part)}: ${text.textContent}`);
        for (const text of texts) {
            const is_in = within(box(text), box(part.querySelector('.box')));
            if (!is_in) wrong.push(`out of ${name(part)}: ${text.textContent}`);
        }
    }
    const { clientWidth, scrollWidth } = document.querySelector('#picture');
    if (scrollWidth > clientWidth) wrong.push(`${scrollWidth} pixels wide in ${clientWidth}`);
    return wrong;
})()";

#[test]
fn more_guests_than_a_screen_holds_are_each_drawn_and_can_be_read() {
    let world = World::routed_with(Attach::Own, 2, |lab, config| {
        lab.host("gw-venet");
        let server =
            "[network.server]\nport = \"tap,iface=srv-lan0\"\naddresses = [\"10.9.0.1/24\"]";
        let vlan = |number: u32| format!("uplink = \"up0\"\nvlan = {number}");
        served(config.shared())
            .network(PLACES[2], server)
            .network(PLACES[3], "uplink = \"up0\"")
            .network(PLACES[4], &vlan(7))
            .network(PLACES[5], &vlan(8))
    });
    let app = &world.app;
    let changes = (3..=GUESTS).flat_map(|number| guest(&world.lab, number));
    batch(app, &changes.collect::<Vec<Value>>());
    world.ct(1).run(&format!("ping -q -c 100 -i 0.002 -s 1000 {}", address(2)));
    let mut browser = Browser::start(world.lab.dir());
    browser.view(1500, 1000, false);
    browser.open(&format!("http://{ADDRESS}/"));
    // Whoever is in two places has a card in each.
    let cards = GUESTS + (3..=GUESTS).filter(|number| number.is_multiple_of(5)).count();
    browser.wait(&format!("document.querySelectorAll('.card').length === {cards}"));
    let mut wrong = None;
    eventually("the page and the API agree", Duration::from_secs(15), || {
        let guests = rows(app.json("show guest all"));
        assert_eq!(guests.len(), GUESTS);
        wrong = guests.iter().flat_map(|guest| rows(guest["adapters"].clone())).find_map(|row| {
            let name = format!(
                "{}/{}",
                row["guest"].as_str().expect("a name"),
                row["adapter"].as_str().expect("a name")
            );
            let at = drawn(&mut browser, &format!("[data-adapter='{name}']"));
            difference(&at, &row["stats"]).map(|difference| format!("{name}: {difference}"))
        });
        if let Some(wrong) = &wrong {
            println!("{wrong}");
        }
        wrong.is_none()
    });
    let target = appliance::target().join("page");
    std::fs::create_dir_all(&target).expect("a directory");
    for width in [1100, 1500, 2200] {
        browser.view(width, 1000, false);
        browser.wait(&format!("innerWidth === {width}"));
        // The page is told of a new width in a frame, after that frame's callbacks: by those of the next it has
        // drawn anew.
        browser.value(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
        );
        // All of it on the picture.
        let height = browser.value("document.documentElement.scrollHeight").as_u64();
        let height = u32::try_from(height.expect("a height")).expect("a height");
        browser.view(width, height, false);
        browser.screenshot(&target.join(format!("many-{width}.png")));
        assert_eq!(browser.value(WRONG), json!([]), "{width} pixels wide");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
    browser.close();
    world.end();
}
