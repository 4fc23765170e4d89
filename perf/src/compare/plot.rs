//! Line plots as SVG, small enough to read.

use std::fmt::Write as _;

/// Pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
/// The legend stands there.
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 56.0;
/// Told apart by people who see colours differently, too.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// For the legend.
    pub(crate) name: String,
    /// Which of the colours; lines that belong together share one.
    pub(crate) colour: usize,
    /// Broken, to be told apart from another of its colour.
    pub(crate) dashed: bool,
    /// In the order in which they are joined.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// What it shows.
    pub(crate) title: String,
    /// Name and scale of the horizontal axis.
    pub(crate) x: (String, Scale),
    /// The same of the vertical axis.
    pub(crate) y: (String, Scale),
    /// Lines; those without points are left out.
    pub(crate) series: Vec<Series>,
}

/// An axis that knows its ends.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Axis {
        let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
        match scale {
            Scale::Linear => {
                Axis { scale, low: 0.0, high: if high > 0.0 { high * 1.05 } else { 1.0 } }
            }
            Scale::Log => {
                let positive = values.filter(|value| *value > 0.0);
                let low = positive.fold(f64::INFINITY, f64::min).min(high);
                let low = if low.is_finite() && low > 0.0 { low } else { 1.0 };
                let high = high.max(low);
                let (low, high) = (low.log10().floor(), high.log10().ceil());
                Axis {
                    scale,
                    low: 10_f64.powf(low),
                    high: 10_f64.powf(if high > low { high } else { low + 1.0 }),
                }
            }
        }
    }

    /// Between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => {
                let value = value.max(self.low);
                (value / self.low).log10() / (self.high / self.low).log10()
            }
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = self.high / 5.0;
                let power = 10_f64.powf(rough.log10().floor());
                let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
                let factor = factors.into_iter().find(|factor| factor * power >= rough);
                let step = factor.unwrap_or(10.0) * power;
                let count = (self.high / step).floor() as usize;
                (0..=count).map(|index| index as f64 * step).collect()
            }
            Scale::Log => {
                let (low, high) =
                    (self.low.log10().round() as i32, self.high.log10().round() as i32);
                (low..=high).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

impl Plot {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x_axis = Axis::new(self.x.1, points().map(|point| point.0));
        let y_axis = Axis::new(self.y.1, points().map(|point| point.1));
        let (wide, high) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let x_at = |value: f64| LEFT + wide * x_axis.place(value);
        let y_at = |value: f64| TOP + high * (1.0 - y_axis.place(value));
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>",
            escaped(&self.title)
        );
        let (bottom, right) = (TOP + high, LEFT + wide);
        for tick in x_axis.ticks() {
            let (x, text) = (x_at(tick), short(tick));
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" \
                 stroke=\"#e4e4e4\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{text}</text>",
                bottom + 17.0
            );
        }
        for tick in y_axis.ticks() {
            let (y, text) = (y_at(tick), short(tick));
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" \
                 stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            LEFT + wide / 2.0,
            HEIGHT - 14.0,
            escaped(&self.x.0),
            TOP + high / 2.0,
            escaped(&self.y.0)
        );
        let drawn = self.series.iter().filter(|series| !series.points.is_empty());
        for (index, series) in drawn.enumerate() {
            let colour = COLOURS[series.colour % COLOURS.len()];
            let dash = if series.dashed { " stroke-dasharray=\"5 4\"" } else { "" };
            let path: Vec<String> = series
                .points
                .iter()
                .map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y)))
                .collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-width=\"2\"{dash}/>",
                path.join(" ")
            );
            if series.points.len() <= 40 {
                for &(x, y) in &series.points {
                    let (x, y) = (x_at(x), y_at(y));
                    let _ = writeln!(
                        svg,
                        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                    );
                }
            }
            let y = TOP + 14.0 + 17.0 * index as f64;
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" y1=\"{2:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
                 stroke-width=\"3\"{dash}/><text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                right + 8.0,
                right + 28.0,
                y - 4.0,
                right + 33.0,
                escaped(&series.name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A number in few characters.
fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let rounded = (scaled * 1000.0).round() / 1000.0;
    format!("{rounded}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_within_the_picture() {
        for scale in [Scale::Linear, Scale::Log] {
            let plot = Plot {
                title: "a < b".to_owned(),
                x: ("x".to_owned(), scale),
                y: ("y".to_owned(), scale),
                series: vec![
                    Series {
                        name: "one".to_owned(),
                        colour: 0,
                        dashed: true,
                        points: vec![(1.0, 5.0), (1000.0, 0.0)],
                    },
                    Series {
                        name: "absent".to_owned(),
                        colour: 1,
                        dashed: false,
                        points: Vec::new(),
                    },
                ],
            };
            let svg = plot.svg();
            assert!(svg.contains("a &lt; b") && !svg.contains("absent") && !svg.contains("NaN"));
            for part in svg.split("cx=\"").skip(1) {
                let x: f64 = part.split('"').next().expect("quoted").parse().expect("a number");
                assert!((LEFT..=WIDTH - RIGHT + 0.1).contains(&x), "{x}");
            }
            for part in svg.split("cy=\"").skip(1) {
                let y: f64 = part.split('"').next().expect("quoted").parse().expect("a number");
                assert!((TOP - 0.1..=HEIGHT - BOTTOM + 0.1).contains(&y), "{y}");
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::new(Scale::Linear, [0.0, 87.0].into_iter());
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0]);
        let axis = Axis::new(Scale::Log, [3.0, 870.0].into_iter());
        assert_eq!(axis.ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(short(1_500_000.0), "1.5M");
        assert_eq!(short(0.25), "0.25");
    }

    #[test]
    fn nothing_measured_is_an_empty_plot() {
        let plot = Plot {
            title: String::new(),
            x: (String::new(), Scale::Log),
            y: (String::new(), Scale::Linear),
            series: Vec::new(),
        };
        assert!(plot.svg().ends_with("</svg>\n"));
    }
}
