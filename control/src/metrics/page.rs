//! A page under construction: families of samples, written by the library's encoder.

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// One sample: its labels and its value.
pub(super) type Sample = (Vec<LabelPair>, f64);

/// The text so far.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Adds counters: they only grow, and their name ends in `_total`.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) -> prometheus::Result<()> {
        let counters = samples.into_iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(labels);
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
            metric
        });
        self.family(name, help, MetricType::COUNTER, counters.collect())
    }

    /// Adds gauges: they go up and down.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample>,
    ) -> prometheus::Result<()> {
        let gauges = samples.into_iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(labels);
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
            metric
        });
        self.family(name, help, MetricType::GAUGE, gauges.collect())
    }

    /// Adds one gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    /// Written family by family, so that no more than one is ever there twice.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: Vec<Metric>,
    ) -> prometheus::Result<()> {
        // The encoder refuses a family without samples.
        if metrics.is_empty() {
            return Ok(());
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        TextEncoder::new().encode_utf8(&[family], &mut self.0)
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Labels of a sample.
pub(super) fn labels(pairs: &[(&str, &str)]) -> Vec<LabelPair> {
    let pairs = pairs.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    pairs.collect()
}

/// A count as a sample's value. Prometheus has doubles alone: exact up to 2^53, which is three years of a
/// hundred million packets a second; bytes beyond that are told to within one or two.
#[allow(clippy::cast_precision_loss, reason = "what the format has")]
pub(super) fn count(count: u64) -> f64 {
    count as f64
}

/// A yes or no as a gauge's value.
pub(super) fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_helps_of_any_text_stay_on_their_line() {
        let mut page = Page::default();
        let odd = labels(&[("a", "back\\slash \"quoted\"\nline")]);
        page.counters("x_total", "Two\nlines.", [(odd, 3.0)]).unwrap();
        assert_eq!(
            page.into_text(),
            "# HELP x_total Two\\nlines.\n# TYPE x_total counter\n\
             x_total{a=\"back\\\\slash \\\"quoted\\\"\\nline\"} 3\n"
        );
    }

    #[test]
    fn a_family_without_samples_is_left_out() {
        let mut page = Page::default();
        page.gauges("x", "X.", []).unwrap();
        page.gauge("y", "Y.", 0.5).unwrap();
        assert_eq!(page.into_text(), "# HELP y Y.\n# TYPE y gauge\ny 0.5\n");
    }

    #[test]
    fn large_counts_are_written_in_full() {
        let mut page = Page::default();
        page.counters("x_total", "X.", [(vec![], count(9_007_199_254_740_991))]).unwrap();
        assert!(page.into_text().ends_with("x_total 9007199254740991\n"));
    }
}
