//! The picture: workers, ports and adapters under one line that sums up, as much of it as fits.

use super::rates::{AdapterRow, Flow, PortRow, Rates, WorkerRow};
use crate::api::view::{Counters, Link};
use crate::cli::render::word;
use crate::model::Rate;
use crossterm::event::KeyCode;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table};
use std::cmp::Reverse;
use std::time::Duration;

/// Columns of one worker, and of the bar that its load is.
const WORKER: u16 = 46;
const BAR: usize = 20;
/// Ports shown at most; adapters are what one looks for.
const PORTS: usize = 8;
/// So wide a screen has room for networks, for limits, for the kinds of ports.
const WITH_NETWORK: u16 = 110;
const WITH_LIMIT: u16 = 92;
const WITH_KIND: u16 = 84;
/// From this part of its limit on a rate is marked.
const NEAR: f64 = 0.9;

/// What adapters are in order of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Name,
    In,
    Out,
    Packets,
    Drops,
}

/// The keys and their orders, as the last line tells them.
const ORDERS: [(char, Order, &str); 5] = [
    ('n', Order::Name, "name"),
    ('i', Order::In, "in"),
    ('o', Order::Out, "out"),
    ('p', Order::Packets, "packets"),
    ('d', Order::Drops, "drops"),
];

/// What is shown, and how.
pub(super) struct Picture {
    every: Duration,
    head: String,
    rates: Rates,
    /// Why there is nothing newer.
    missed: Option<String>,
    order: Order,
    /// The other way round.
    is_reversed: bool,
    /// Adapters above the first that is shown.
    above: usize,
    /// Adapters that were shown at once.
    page: usize,
}

impl Picture {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            head: String::new(),
            rates: Rates::default(),
            missed: None,
            order: Order::Name,
            is_reversed: false,
            above: 0,
            page: 1,
        }
    }

    /// Shows these from now on.
    pub(super) fn show(&mut self, rates: Rates, now: &Counters) {
        let used = u64::from(now.mbufs.saturating_sub(now.mbufs_free)) * 100;
        let used = used.checked_div(now.mbufs.into()).unwrap_or(0);
        let (hours, minutes) = (now.uptime_s / 3600, now.uptime_s / 60 % 60);
        let forwarding = if now.forwarding { "forwarding" } else { "STOPPED" };
        self.head = format!(
            "guestway {forwarding}, up {hours}:{minutes:02}, {} adapters, pool {used}% in use",
            now.adapters.len()
        );
        (self.rates, self.missed) = (rates, None);
        self.sort();
    }

    /// There is nothing newer.
    pub(super) fn miss(&mut self, why: String) {
        self.missed = Some(why);
    }

    /// Goes by a key; false for out.
    pub(super) fn key(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return false,
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char(letter) => {
                if let Some((_, order, _)) = ORDERS.iter().find(|(key, ..)| *key == letter) {
                    (self.order, self.is_reversed, self.above) = (*order, false, 0);
                }
            }
            KeyCode::Down => self.above = self.above.saturating_add(1),
            KeyCode::Up => self.above = self.above.saturating_sub(1),
            KeyCode::PageDown => self.above = self.above.saturating_add(self.page),
            KeyCode::PageUp => self.above = self.above.saturating_sub(self.page),
            KeyCode::Home => self.above = 0,
            KeyCode::End => self.above = usize::MAX,
            _ => {}
        }
        self.sort();
        true
    }

    /// The most first, names as they come.
    fn sort(&mut self) {
        let adapters = &mut self.rates.adapters;
        let by = |of: fn(&Flow) -> f64| {
            // Whole numbers have an order; below one a second nothing is in a hurry.
            move |row: &AdapterRow| {
                let rate = row.flow.as_ref().map_or(-1.0, of);
                #[allow(clippy::cast_possible_truncation, reason = "saturates")]
                let rate = (rate * 1000.0) as i64;
                (Reverse(rate), row.adapter.clone())
            }
        };
        match self.order {
            Order::Name => adapters.sort_by_cached_key(|row| row.adapter.clone()),
            Order::In => adapters.sort_by_cached_key(by(|flow| flow.tx_bps)),
            Order::Out => adapters.sort_by_cached_key(by(|flow| flow.rx_bps)),
            Order::Packets => adapters.sort_by_cached_key(by(|flow| flow.rx_pps + flow.tx_pps)),
            Order::Drops => adapters.sort_by_cached_key(by(|flow| flow.drops_pps)),
        }
        if self.is_reversed {
            adapters.reverse();
        }
    }

    /// Draws it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let across = usize::from((frame.area().width / WORKER).max(1));
        let workers = rows(self.rates.workers.len().div_ceil(across));
        let ports = rows(self.rates.ports.len().min(PORTS));
        let ports = if ports > 0 { ports + 1 } else { 0 };
        let areas = Layout::vertical([
            Constraint::Length(1),
            Constraint::Max(workers),
            Constraint::Max(ports),
            Constraint::Min(2),
            Constraint::Length(1),
        ]);
        let [head, worker_area, port_area, adapter_area, foot] = areas.areas(frame.area());
        frame.render_widget(self.head(), head);
        frame.render_widget(workers_text(&self.rates.workers, across), worker_area);
        frame.render_widget(ports_table(&self.rates.ports, port_area.width), port_area);
        self.draw_adapters(frame, adapter_area);
        frame.render_widget(self.foot(), foot);
    }

    fn head(&self) -> Line<'_> {
        match (&self.missed, self.rates.in_all) {
            (Some(why), _) => Line::raw(format!("{why} (asked again)")).red().bold(),
            (None, None) => Line::raw(self.head.as_str()).bold(),
            (None, Some(flow)) => {
                let in_all = format!(
                    "{}: {}pkt/s, {}bit/s received",
                    self.head,
                    si(flow.rx_pps),
                    si(flow.rx_bps)
                );
                Line::raw(in_all).bold()
            }
        }
    }

    fn foot(&self) -> Line<'_> {
        let mut spans = vec![Span::raw("q: leave  order:")];
        for (key, order, name) in ORDERS {
            let text = format!(" {key}:{name}");
            spans.push(match order == self.order {
                true => Span::raw(text).bold().underlined(),
                false => Span::raw(text),
            });
        }
        spans.push(Span::raw(format!(" r:reverse  every {} s", self.every.as_secs())));
        Line::from(spans).reversed()
    }

    fn draw_adapters(&mut self, frame: &mut Frame<'_>, area: Rect) {
        self.page = usize::from(area.height.saturating_sub(1)).max(1);
        let adapters = &self.rates.adapters;
        self.above = self.above.min(adapters.len().saturating_sub(self.page));
        let (has_network, has_limit) = (area.width >= WITH_NETWORK, area.width >= WITH_LIMIT);
        let mut widths = vec![Constraint::Min(12)];
        let mut headings = vec![Cell::from("GUEST/ADAPTER")];
        if has_network {
            widths.push(Constraint::Length(16));
            headings.push(Cell::from("NETWORK"));
        }
        widths.extend([4, 9, 9, 9, 9, 9].map(Constraint::Length));
        headings.push(Cell::from("LINK"));
        headings.extend(["IN bit/s", "IN pkt/s", "OUT bit/s", "OUT pkt/s", "DROPS/s"].map(right));
        if has_limit {
            widths.push(Constraint::Length(15));
            headings.push(right("LIMIT in/out"));
        }
        let row = |one: &AdapterRow| {
            let mut cells = vec![Cell::from(one.adapter.to_string())];
            if has_network {
                let network = one.network.as_ref().map_or("-".into(), ToString::to_string);
                cells.push(Cell::from(network));
            }
            cells.push(link(one.link));
            // A guest's in is what we send.
            let limit = one.limit.unwrap_or_default();
            let rate = |of: fn(&Flow) -> f64| one.flow.as_ref().map(of);
            cells.push(limited(rate(|flow| flow.tx_bps), limit.in_bps));
            cells.push(plain(rate(|flow| flow.tx_pps)));
            cells.push(limited(rate(|flow| flow.rx_bps), limit.out_bps));
            cells.push(plain(rate(|flow| flow.rx_pps)));
            cells.push(drops(rate(|flow| flow.drops_pps)));
            if has_limit {
                cells.push(right(&limit_text(one.limit)));
            }
            Row::new(cells)
        };
        let shown = adapters.iter().skip(self.above).take(self.page).map(row);
        let table = Table::new(shown, widths).header(Row::new(headings).style(Style::new().bold()));
        frame.render_widget(table, area);
    }
}

fn workers_text(workers: &[WorkerRow], across: usize) -> Text<'static> {
    let line = |workers: &[WorkerRow]| Line::from_iter(workers.iter().flat_map(worker));
    Text::from_iter(workers.chunks(across).map(line))
}

fn worker(worker: &WorkerRow) -> Vec<Span<'static>> {
    let name = Span::raw(format!("core {:<3} ", worker.core));
    let Some(load) = worker.load else {
        let said = if worker.pps.is_some() { "stands still" } else { "" };
        return vec![name, Span::raw(format!("{said:<38}")).red()];
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1")]
    let filled = ((load * 20.0).round() as usize).min(BAR);
    let color = match load {
        load if load >= 0.9 => Color::Red,
        load if load >= 0.7 => Color::Yellow,
        _ => Color::Green,
    };
    let late = if worker.is_late { " late" } else { "" };
    let numbers =
        format!("] {:>5.1}% {:>6}p/s{late:<5} ", load * 100.0, worker.pps.map_or("-".into(), si));
    vec![
        name,
        Span::raw("["),
        Span::raw("|".repeat(filled)).fg(color),
        Span::raw(" ".repeat(BAR - filled)),
        Span::raw(numbers),
    ]
}

fn ports_table(ports: &[PortRow], columns: u16) -> Table<'static> {
    let has_kind = columns >= WITH_KIND;
    let mut widths = vec![Constraint::Min(12)];
    let mut headings = vec![Cell::from("PORT")];
    if has_kind {
        widths.push(Constraint::Length(14));
        headings.push(Cell::from("KIND"));
    }
    widths.extend([4, 9, 9, 9, 9, 9].map(Constraint::Length));
    headings.push(Cell::from("LINK"));
    headings.extend(["RX bit/s", "RX pkt/s", "TX bit/s", "TX pkt/s", "DROPS/s"].map(right));
    let row = |one: &PortRow| {
        let rate = |of: fn(&Flow) -> f64| one.flow.as_ref().map(of);
        let mut cells = vec![Cell::from(one.port.clone())];
        if has_kind {
            cells.push(Cell::from(word(&one.kind)));
        }
        cells.push(link(one.link));
        let rates: [fn(&Flow) -> f64; 4] = [|f| f.rx_bps, |f| f.rx_pps, |f| f.tx_bps, |f| f.tx_pps];
        cells.extend(rates.map(|of| plain(rate(of))));
        cells.push(drops(rate(|f| f.drops_pps)));
        Row::new(cells)
    };
    Table::new(ports.iter().take(PORTS).map(row), widths)
        .header(Row::new(headings).style(Style::new().bold()))
}

fn link(link: Link) -> Cell<'static> {
    match link {
        Link::Up => Cell::from("up"),
        Link::Down => Cell::from("down").red(),
        Link::Unknown => Cell::from("-"),
    }
}

fn plain(rate: Option<f64>) -> Cell<'static> {
    right(&rate.map_or("-".into(), si))
}

/// Marked where it is near its limit.
fn limited(rate: Option<f64>, limit: Option<u64>) -> Cell<'static> {
    let is_near = rate.is_some_and(|rate| is_near(rate, limit));
    if is_near { plain(rate).yellow().bold() } else { plain(rate) }
}

/// Marked where there are any.
fn drops(rate: Option<f64>) -> Cell<'static> {
    let are_there = rate.is_some_and(|rate| rate > 0.0);
    if are_there { plain(rate).red().bold() } else { plain(rate) }
}

fn right(text: &str) -> Cell<'static> {
    Cell::from(Text::raw(text.to_owned()).alignment(Alignment::Right))
}

#[allow(clippy::cast_precision_loss, reason = "a mark for reading")]
fn is_near(rate: f64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| rate >= limit as f64 * NEAR)
}

#[allow(clippy::cast_precision_loss, reason = "a number for reading")]
fn limit_text(limit: Option<Rate>) -> String {
    let way = |bps: Option<u64>| bps.map_or("-".into(), |bps| si(bps as f64));
    limit.map_or("-".into(), |limit| format!("{}/{}", way(limit.in_bps), way(limit.out_bps)))
}

/// A number in three digits with the unit's prefix, by powers of 1000.
pub(super) fn si(number: f64) -> String {
    let (mut number, mut prefixes) = (number, ["", "k", "M", "G", "T"].into_iter());
    let mut prefix = prefixes.next().unwrap_or_default();
    // What would be rounded to 1000 is one of the next.
    while number >= 999.5 {
        let Some(next) = prefixes.next() else { break };
        (number, prefix) = (number / 1000.0, next);
    }
    let digits = match number {
        _ if prefix.is_empty() => 0,
        number if number < 9.995 => 2,
        number if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{prefix}")
}

fn rows(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
