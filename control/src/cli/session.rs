//! Carries out orders, one command after another.

use super::capture::{self, CaptureOrder};
use super::client::{Client, ClientError};
use super::complete;
use super::grammar;
use super::load;
use super::order::{self, Order, TraceOrder, View};
use super::pager;
use super::render::{self, Out, Rates};
use super::terminal::{self, Process};
use super::top;
use super::words::{self, nearest};
use crate::api::backend::{Refusal, RefusalKind};
use crate::api::paths::TraceWish;
use crate::api::view;
use crate::model::{Change, MacTarget, Name, NetworkAttach, NetworkPatch, PortPatch};
use hyper::body::Bytes;
use ipnet::IpNet;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::time::Duration;

/// Files that call files, at most so deep.
const SOURCE_DEPTH: usize = 8;

/// How long one question for events waits, seconds.
const EVENT_WAIT_S: u64 = 25;

/// Whether there is more to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// The next command.
    Continue,
    /// `quit`.
    Quit,
}

/// Why a command was not done.
#[derive(Debug)]
pub(super) enum Stop {
    /// One line: what is wrong and what would be right.
    Wrong(String),
    /// The same, of something that is not there: the session adds the nearest that is.
    Missing(String),
    /// Nobody reads the output any more: no fault of the command's.
    OutputClosed,
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Stop::Wrong(message)
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        let is_missing = |refusal: &Refusal| refusal.kind == RefusalKind::NotFound;
        match &error {
            ClientError::Refused(refusal) if is_missing(refusal) => {
                Stop::Missing(error.to_string())
            }
            _ => Stop::Wrong(error.to_string()),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::OutputClosed,
            _ => Stop::Wrong(format!("cannot write the output: {error}")),
        }
    }
}

/// Where commands go and what they print to.
pub(super) struct Session<'a> {
    client: &'a Client,
    json: bool,
    out: Out<'a>,
    rates: Rates,
    depth: usize,
    /// Whose terminal the output goes to, where it goes to one: long listings are then paged.
    terminal: Option<Process>,
    /// Whether somebody types: an interrupt is then for the prompt, or for the whole appliance.
    is_prompt: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(client: &'a Client, json: bool, out: &'a mut dyn Write) -> Self {
        let (out, rates) = (Out::new(out), Rates::default());
        Self { client, json, out, rates, depth: 0, terminal: None, is_prompt: false }
    }

    /// The same for one command whose output, the terminal's, somebody reads.
    pub(super) fn at_terminal(
        client: &'a Client,
        json: bool,
        out: &'a mut dyn Write,
        process: Process,
    ) -> Self {
        Self { terminal: Some(process), ..Self::new(client, json, out) }
    }

    /// The same for a prompt.
    pub(super) fn at_prompt(
        client: &'a Client,
        json: bool,
        out: &'a mut dyn Write,
        process: Process,
    ) -> Self {
        Self { is_prompt: true, ..Self::at_terminal(client, json, out, process) }
    }

    /// Carries out one command. `--json` may stand anywhere in it.
    pub(super) fn execute(&mut self, words: &[String]) -> Result<Flow, Stop> {
        let plain: Vec<String> = words.iter().filter(|word| *word != "--json").cloned().collect();
        let json = self.json || plain.len() < words.len();
        if plain.is_empty() && plain.len() == words.len() {
            return Ok(Flow::Continue);
        }
        let (command, values) = grammar::parse(&plain)?;
        let order = (command.order)(&values)
            .map_err(|message| format!("{message}; usage: {}", command.usage))?;
        let done = match self.terminal {
            Some(process) if !json && self.depth == 0 && order.is_listing() => {
                self.page(order, process)
            }
            _ => self.carry_out(order, json),
        };
        let done = done.map_err(|stop| self.with_names(stop, &values));
        self.out.flush()?;
        done
    }

    /// Shows a listing page by page, as wide as the terminal.
    fn page(&mut self, order: Order, process: Process) -> Result<Flow, Stop> {
        let mut text = Vec::new();
        let mut inner = Session::new(self.client, false, &mut text);
        inner.rates = mem::take(&mut self.rates);
        inner.out.width = Some(terminal::size().0);
        let done = inner.carry_out(order, false);
        self.rates = inner.rates;
        pager::show(&text, process)?;
        done
    }

    fn carry_out(&mut self, order: Order, json: bool) -> Result<Flow, Stop> {
        match order {
            Order::Change(changes) => self.change(&changes)?,
            Order::Act(path) => {
                self.client.post(&path, "")?;
            }
            Order::Show(path, view) => self.show(&path, view, json)?,
            Order::ShowRoutes => self.show_routes(json)?,
            Order::ShowArp => self.show_arp(json)?,
            Order::AllPorts { started } => self.set_all_ports(started)?,
            Order::MacAdd { network, mac, target } => {
                let to = self.mac_target(&target)?;
                self.change(&[Change::MacAdd { network, mac, to }])?;
            }
            Order::NetworkVlan { network, vlan, set } => {
                let attach = Some(self.attach_to_vlan(&network, vlan)?);
                let set = NetworkPatch { attach, ..set };
                self.change(&[Change::NetworkSet { network, set }])?;
            }
            Order::LoadRoutes(file) => {
                let loaded = load::routes(self.client, &file)?;
                if !json {
                    writeln!(self.out, "{loaded} routes added")?;
                }
            }
            Order::Source(file) => return self.source(&file),
            Order::Events { follow } => self.events(follow, json)?,
            Order::Trace(order) => self.trace(&order, json)?,
            Order::Capture(order) => self.capture(&order, json)?,
            Order::Top { every_s } => self.top(Duration::from_secs(every_s), json)?,
            Order::Apply { file, dry_run } => self.apply(&file, dry_run, json)?,
            Order::Configure(path) => self.configure(&path, Bytes::new(), json)?,
            Order::Help(word) => render::help(&mut self.out, &grammar::help(word.as_deref())?)?,
            Order::Quit => return Ok(Flow::Quit),
        }
        Ok(Flow::Continue)
    }

    fn change(&self, changes: &[Change]) -> Result<(), ClientError> {
        self.client.post("/v1/batch", to_json(changes)).map(|_| ())
    }

    fn show(&mut self, path: &str, view: View, json: bool) -> Result<(), Stop> {
        let body = self.client.get(path)?;
        if json {
            return self.print_json(&body);
        }
        render::answer(&mut self.out, self.client, view, &body, &mut self.rates)
    }

    fn print_json(&mut self, body: &[u8]) -> Result<(), Stop> {
        self.out.write_all(body)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Page by page, so that a million routes need no memory but for one page, JSON apart.
    fn show_routes(&mut self, json: bool) -> Result<(), Stop> {
        let mut all = view::RoutePage { routes: Vec::new(), next: None };
        let mut after: Option<IpNet> = None;
        let mut is_first = true;
        loop {
            let mut path = order::path(&[&"routes"]);
            if let Some(after) = after {
                path = format!("{path}?after={}", order::encoded(&after));
            }
            let page: view::RoutePage = self.client.read(&path, None)?;
            after = page.next;
            match json {
                true => all.routes.extend(page.routes),
                false => render::routes(&mut self.out, &page.routes, is_first)?,
            }
            is_first = false;
            if after.is_none() {
                break;
            }
        }
        if json { self.print_json(&to_json(&all)) } else { Ok(()) }
    }

    fn show_arp(&mut self, json: bool) -> Result<(), Stop> {
        let mut neighbors: Vec<view::Neighbor> = self.client.read("/v1/neighbors", None)?;
        neighbors.retain(|neighbor| neighbor.ip.is_ipv4());
        if json {
            return self.print_json(&to_json(&neighbors));
        }
        Ok(render::neighbors(&mut self.out, &neighbors)?)
    }

    /// The ports that the operator named, in one transaction.
    fn set_all_ports(&self, started: bool) -> Result<(), ClientError> {
        let ports: Vec<view::PortInfo> = self.client.read("/v1/ports", None)?;
        let set = |info: view::PortInfo| match info.port {
            view::PortLabel::Named(port) => {
                let set = PortPatch { started: Some(started), ..Default::default() };
                Some(Change::PortSet { port, set })
            }
            _ => None,
        };
        let changes: Vec<Change> = ports.into_iter().filter_map(set).collect();
        self.change(&changes)
    }

    /// The VLAN on the uplink that the network is on.
    fn attach_to_vlan(&self, network: &Name, vlan: u16) -> Result<NetworkAttach, Stop> {
        let path = order::path(&[&"networks", network]);
        match self.client.read::<view::Network>(&path, None)?.attach {
            NetworkAttach::Uplink { port, .. } => {
                Ok(NetworkAttach::Uplink { port, vlan: Some(vlan) })
            }
            NetworkAttach::HostOnly => Err(format!(
                "network {network} is host-only and has no VLAN; give it an uplink: network set \
                 {network} uplink PORT vlan {vlan}"
            ))?,
        }
    }

    /// What the target of a static MAC is: GUEST/ADAPTER, a port, `server`, or an adapter whose name
    /// no other has.
    fn mac_target(&self, target: &str) -> Result<MacTarget, Stop> {
        if target.contains('/') {
            let label: view::AdapterLabel =
                target.parse().map_err(|error: view::BadLabel| error.to_string())?;
            return Ok(MacTarget::Adapter { guest: label.guest, adapter: label.adapter });
        }
        let name: Name =
            target.parse().map_err(|error: crate::model::BadName| error.to_string())?;
        let ports: Vec<view::PortInfo> = self.client.read("/v1/ports", None)?;
        let is_port = ports.iter().any(|info| info.port == view::PortLabel::Named(name.clone()));
        if is_port || name.as_str() == "server" {
            return Ok(MacTarget::Port(name));
        }
        let guests: Vec<view::Guest> = self.client.read("/v1/guests", None)?;
        let adapters: Vec<view::Adapter> = guests
            .into_iter()
            .flat_map(|guest| guest.adapters)
            .filter(|adapter| adapter.adapter == name)
            .collect();
        match adapters.as_slice() {
            [one] => {
                Ok(MacTarget::Adapter { guest: one.guest.clone(), adapter: one.adapter.clone() })
            }
            [] => {
                Err(format!("no port and no adapter {name}; want a port, GUEST/ADAPTER or server"))?
            }
            [first, ..] => Err(format!(
                "{} adapters are called {name}; say which, like {}/{name}",
                adapters.len(),
                first.guest
            ))?,
        }
    }

    /// Events so far, and with `follow` those that come, until the output is closed.
    fn events(&mut self, follow: bool, json: bool) -> Result<(), Stop> {
        if follow && self.is_prompt {
            let way =
                "events are followed by a command of its own: guestway ctl show events follow";
            return Err(Stop::Wrong(way.to_owned()));
        }
        let (mut last, mut wait) = (0, 0);
        loop {
            let body = self.client.get(&format!("/v1/events?after={last}&wait={wait}"))?;
            let page: view::EventPage = self.client.parse(&body)?;
            match json {
                true => self.print_json(&body)?,
                false => render::events(&mut self.out, &page)?,
            }
            self.out.flush()?;
            if !follow {
                return Ok(());
            }
            (last, wait) = (page.last, EVENT_WAIT_S);
        }
    }

    fn trace(&mut self, order: &TraceOrder, json: bool) -> Result<(), Stop> {
        let TraceOrder { target, direction, count, seconds, filter } = order;
        let wish = TraceWish {
            target: target.clone(),
            direction: *direction,
            count: *count,
            seconds: *seconds,
            filter: filter.as_deref().map(capture::compiled).transpose()?,
        };
        let answer = self.client.post("/v1/trace", to_json(&wish))?;
        if json {
            return self.print_json(&answer);
        }
        Ok(render::trace(&mut self.out, &self.client.parse(&answer)?)?)
    }

    fn capture(&mut self, order: &CaptureOrder, json: bool) -> Result<(), Stop> {
        if self.is_prompt && !order.is_bounded() {
            let way = "at the prompt a capture ends by itself: want packets N and seconds S; or run it as a \
                       command of its own: guestway ctl capture …";
            return Err(Stop::Wrong(way.to_owned()));
        }
        match capture::run(self.client, order, &mut self.out, self.is_prompt)? {
            Some(done) if json => self.print_json(&to_json(&done)),
            Some(done) => Ok(render::captured(&mut self.out, &done, &order.file)?),
            None => Ok(()),
        }
    }

    fn top(&mut self, every: Duration, json: bool) -> Result<(), Stop> {
        if json {
            let body = self.client.get(top::PATH)?;
            return self.print_json(&body);
        }
        match self.terminal {
            Some(process) => top::run(self.client, every, process),
            None => Err(Stop::Wrong(
                "top draws on a terminal; for programs: top --json, twice, with read-at-ms between"
                    .to_owned(),
            )),
        }
    }

    fn apply(&mut self, file: &Path, dry_run: bool, json: bool) -> Result<(), Stop> {
        let file = file.display().to_string();
        let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        let wish = serde_json::json!({ "file": file, "text": text, "dry-run": dry_run });
        self.configure("/v1/config/apply", to_json(&wish), json)
    }

    fn configure(&mut self, path: &str, body: Bytes, json: bool) -> Result<(), Stop> {
        let answer = self.client.post(path, body)?;
        if json {
            return self.print_json(&answer);
        }
        Ok(render::configured(&mut self.out, &self.client.parse(&answer)?)?)
    }

    /// Runs a file's commands until one fails.
    fn source(&mut self, file: &Path) -> Result<Flow, Stop> {
        let shown = file.display();
        if self.depth == SOURCE_DEPTH {
            Err(format!("{shown}: more than {SOURCE_DEPTH} files source each other"))?;
        }
        let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
        self.depth += 1;
        let mut flow = Flow::Continue;
        for (number, line) in (1..).zip(text.lines()) {
            let done =
                words::split(line).map_err(Stop::Wrong).and_then(|words| self.execute(&words));
            match done {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => {
                    flow = Flow::Quit;
                    break;
                }
                Err(Stop::Wrong(message) | Stop::Missing(message)) => {
                    self.depth -= 1;
                    return Err(Stop::Wrong(format!("{shown}:{number}: {message}")));
                }
                Err(closed) => return Err(closed),
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    /// Adds the nearest name that is there to a refusal of one that is not.
    fn with_names(&self, stop: Stop, values: &grammar::Values) -> Stop {
        let Stop::Missing(message) = stop else { return stop };
        let near = values.arguments().find_map(|(kind, word)| {
            let known = complete::names(self.client, kind, values.text("GUEST"));
            let is_there = known.iter().any(|name| name == word);
            let near = nearest(word, known.iter().map(String::as_str)).map(str::to_owned);
            near.filter(|_| !is_there)
        });
        match near {
            Some(near) => Stop::Wrong(format!("{message}; did you mean {near:?}?")),
            None => Stop::Wrong(message),
        }
    }
}

/// A body for the API: types that always have a JSON form.
pub(super) fn to_json(body: &(impl Serialize + ?Sized)) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}
