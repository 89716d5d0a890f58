//! Draws what benchmarks have written: a figure for each of target/bench/*.json, as tests/figures/NAME.svg.
//!
//! A figure has a panel for each metric, in it a group of bars for each case: guestway's, and that of every peer
//! with the ratio in brackets. Nothing is painted behind the bars, and every colour is one of middling
//! lightness, so that a figure is read on a white page and on a dark one. The same numbers make the same bytes.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Where the README finds them.
const FIGURES: &str = "tests/figures";
const OURS: &str = "guestway";

/// Contrast with white and with GitHub's dark page is above 4 each.
const INK: RGBColor = RGBColor(0x75, 0x7b, 0x84);
/// Ours, whatever it is compared with.
const OUR_COLOUR: RGBColor = RGBColor(0x2f, 0x81, 0xf7);
/// A peer has one colour in all figures.
const PEERS: [(&str, RGBColor); 7] = [
    ("testpmd io", RGBColor(0x8c, 0x92, 0x9b)),
    ("testpmd macswap", RGBColor(0xc9, 0x7a, 0x12)),
    ("ovs", RGBColor(0x2f, 0x9e, 0x58)),
    ("rte_fib scalar", RGBColor(0xc9, 0x7a, 0x12)),
    ("rte_fib vector", RGBColor(0xa3, 0x71, 0xf7)),
    ("rte_lpm", RGBColor(0x2f, 0x9e, 0x58)),
    ("rte_hash", RGBColor(0xc9, 0x7a, 0x12)),
];
const OTHER_COLOUR: RGBColor = RGBColor(0x8c, 0x92, 0x9b);

// All in pixels.
const WIDTH: i32 = 880;
const MARGIN: i32 = 16;
/// Where labels end and bars begin.
const BARS_AT: i32 = 280;
/// Room behind the longest bar for its number.
const NUMBER_WIDTH: i32 = 130;
const BAR: i32 = 12;
const BAR_STEP: i32 = 15;
const GROUP_GAP: i32 = 9;
const TITLE_HEIGHT: i32 = 62;
const PANEL_TITLE_HEIGHT: i32 = 34;

/// The library's own measure: 1.24 of an SVG's.
const TITLE_SIZE: i32 = 22;
const PANEL_SIZE: i32 = 18;
const LABEL_SIZE: i32 = 15;

fn main() -> Result<()> {
    let directory = std::env::var_os("GUESTWAY_BENCH_DIR").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| "target/bench".into());
    let mut words = std::env::args_os().skip(1);
    let figures = words.next().map_or_else(|| FIGURES.into(), PathBuf::from);
    let entries = std::fs::read_dir(&directory)
        .map_err(|why| format!("{}: {why}; tests/bench fills it", directory.display()))?;
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.map(|it| it.path())).collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|it| it == "json"));
    files.sort();
    std::fs::create_dir_all(&figures)?;
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let value = serde_json::from_str(&text).map_err(|why| told(&why))?;
        let figure = Figure::read(&value).ok_or_else(|| told(&"not a benchmark's report"))?;
        let into = figures.join(format!("{}.svg", figure.name));
        std::fs::write(&into, figure.draw()?)?;
        println!("{}", show(&into));
    }
    Ok(())
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

/// One benchmark.
struct Figure {
    name: String,
    panels: Vec<Panel>,
}

/// One metric.
struct Panel {
    metric: String,
    unit: String,
    groups: Vec<Group>,
}

/// One case.
struct Group {
    case: String,
    ours: f64,
    /// Name, value and ratio.
    peers: Vec<(String, f64, Option<f64>)>,
}

impl Figure {
    fn read(value: &Value) -> Option<Self> {
        let mut figure = Self { name: value["name"].as_str()?.to_owned(), panels: Vec::new() };
        for row in value["rows"].as_array()? {
            let (metric, unit, case) =
                (row["metric"].as_str()?, row["unit"].as_str()?, row["case"].as_str()?);
            let panels = &mut figure.panels;
            let found = panels.iter().position(|it| it.metric == metric && it.unit == unit);
            let at = found.unwrap_or_else(|| {
                let (metric, unit) = (metric.to_owned(), unit.to_owned());
                panels.push(Panel { metric, unit, groups: Vec::new() });
                panels.len() - 1
            });
            let groups = &mut panels[at].groups;
            let found = groups.iter().position(|it| it.case == case);
            let at = match found {
                Some(at) => at,
                None => {
                    let ours = row["ours"].as_f64()?;
                    groups.push(Group { case: case.to_owned(), ours, peers: Vec::new() });
                    groups.len() - 1
                }
            };
            if let (Some(name), Some(peer)) = (row["peer_name"].as_str(), row["peer"].as_f64()) {
                groups[at].peers.push((name.to_owned(), peer, row["ratio"].as_f64()));
            }
        }
        Some(figure)
    }

    /// Names of the peers, in order of appearance.
    fn peers(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let groups = self.panels.iter().flat_map(|panel| &panel.groups);
        for (name, ..) in groups.flat_map(|group| &group.peers) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    fn height(&self) -> i32 {
        TITLE_HEIGHT + self.panels.iter().map(Panel::height).sum::<i32>() + MARGIN
    }

    fn draw(&self) -> Result<String> {
        let mut svg = String::new();
        {
            let size = (u32::try_from(WIDTH)?, u32::try_from(self.height())?);
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            write(&area, &self.name, (MARGIN, MARGIN), HPos::Left, TITLE_SIZE, true)?;
            self.draw_legend(&area)?;
            let mut y = TITLE_HEIGHT;
            for panel in &self.panels {
                panel.draw(&area, y)?;
                y += panel.height();
            }
            area.present()?;
        }
        Ok(svg)
    }

    fn draw_legend(&self, area: &Area<'_>) -> Result<()> {
        let peers = self.peers();
        if peers.is_empty() {
            return Ok(());
        }
        let (mut x, y) = (MARGIN, MARGIN + 26);
        for name in std::iter::once(OURS).chain(peers) {
            fill(area, (x, y), 10, colour(name))?;
            write(area, name, (x + 15, y), HPos::Left, LABEL_SIZE, false)?;
            x += 40 + 7 * i32::try_from(name.len())?;
        }
        let note = "in brackets: how many times better guestway is";
        write(area, note, (WIDTH - MARGIN, y), HPos::Right, LABEL_SIZE, false)
    }
}

impl Panel {
    fn height(&self) -> i32 {
        PANEL_TITLE_HEIGHT + self.groups.iter().map(Group::height).sum::<i32>()
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Result<()> {
        // Rates; everything else is a time, a size or a count of work.
        let better = if self.unit.ends_with("pps") { "more" } else { "less" };
        let title = format!("{}, {} ({better} is better)", self.metric, self.unit);
        write(area, &title, (MARGIN, top + 10), HPos::Left, PANEL_SIZE, true)?;
        let values = self.groups.iter().flat_map(|group| {
            std::iter::once(group.ours).chain(group.peers.iter().map(|(_, value, _)| *value))
        });
        let most = values.fold(0.0, f64::max);
        let mut y = top + PANEL_TITLE_HEIGHT;
        for group in &self.groups {
            group.draw(area, y, most)?;
            y += group.height();
        }
        Ok(())
    }
}

impl Group {
    fn bars(&self) -> i32 {
        1 + i32::try_from(self.peers.len()).unwrap_or(i32::MAX - 1)
    }

    fn height(&self) -> i32 {
        self.bars() * BAR_STEP + GROUP_GAP
    }

    fn draw(&self, area: &Area<'_>, top: i32, most: f64) -> Result<()> {
        let middle = top + (self.bars() * BAR_STEP - BAR) / 2;
        write(area, &self.case, (BARS_AT - 10, middle), HPos::Right, LABEL_SIZE, false)?;
        let ours = (OURS, self.ours, String::new());
        let peers = self.peers.iter().map(|(name, value, ratio)| {
            let ratio = ratio.map_or_else(|| "too noisy".to_owned(), |it| format!("{it:.2}"));
            (name.as_str(), *value, format!(" ({ratio})"))
        });
        let mut y = top;
        for (name, value, ratio) in std::iter::once(ours).chain(peers) {
            let room = f64::from(WIDTH - MARGIN - NUMBER_WIDTH - BARS_AT);
            let part = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
            #[allow(clippy::cast_possible_truncation, reason = "pixels of a figure")]
            let length = ((room * part).round() as i32).max(1);
            fill(area, (BARS_AT, y), length, colour(name))?;
            let number = format!("{}{ratio}", digits(value));
            write(area, &number, (BARS_AT + length + 6, y), HPos::Left, LABEL_SIZE, false)?;
            y += BAR_STEP;
        }
        Ok(())
    }
}

fn colour(name: &str) -> RGBColor {
    let peer = || PEERS.iter().find(|(peer, _)| *peer == name).map(|(_, colour)| *colour);
    if name == OURS { OUR_COLOUR } else { peer().unwrap_or(OTHER_COLOUR) }
}

/// Three digits or more, which is more than repeats.
fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A bar of one height, from its upper left corner.
fn fill(area: &Area<'_>, (x, y): (i32, i32), length: i32, colour: RGBColor) -> Result<()> {
    area.draw(&Rectangle::new([(x, y), (x + length, y + BAR - 2)], colour.filled()))
        .map_err(|why| why.to_string().into())
}

/// A line of text, whose height is a bar's.
fn write(
    area: &Area<'_>,
    text: &str,
    (x, y): (i32, i32),
    side: HPos,
    size: i32,
    is_bold: bool,
) -> Result<()> {
    let style = if is_bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = ("sans-serif", size, style).into_font().color(&INK);
    let font = font.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), (x, y + (BAR - 2) / 2), font))
        .map_err(|why| why.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figure() -> Figure {
        let row = |case: &str, metric: &str, peer: &str, ratio: Option<f64>| {
            json!({ "case": case, "metric": metric, "unit": "Mpps", "ours": 22.5, "peer": 44.0,
                "peer_name": peer, "ratio": ratio })
        };
        let rows = json!([
            row("1 destination", "forwarded", "testpmd io", Some(0.51)),
            row("1 destination", "forwarded", "ovs", None),
            row("a < b & c", "forwarded", "ovs", Some(2.0)),
            { "case": "2 guests", "metric": "first packet after", "unit": "s", "ours": 0.4,
                "peer": null, "peer_name": null, "ratio": null },
        ]);
        Figure::read(&json!({ "name": "route", "rows": rows })).expect("a report")
    }

    #[test]
    fn a_metric_is_a_panel_and_a_case_is_a_group_of_bars() {
        let figure = figure();
        assert_eq!(figure.panels.len(), 2);
        assert_eq!(figure.panels[0].groups.len(), 2);
        assert_eq!(figure.panels[0].groups[0].peers.len(), 2);
        assert_eq!(figure.peers(), ["testpmd io", "ovs"]);
    }

    #[test]
    fn the_same_numbers_make_the_same_bytes_and_names_are_escaped() {
        let svg = figure().draw().expect("drawn");
        assert_eq!(svg, figure().draw().expect("drawn"));
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        for part in ["a &lt; b &amp; c", "44.0 (0.51)", "44.0 (too noisy)", "less is better"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(Figure::read(&json!({ "name": "route" })).is_none());
    }
}
