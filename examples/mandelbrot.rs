//! Renders a corner of the Mandelbrot set into a PNG file. Each row of pixels is one element.
//!
//!     cargo run --release --example mandelbrot -- [FILE]    runs on PHALANX_URL (default: in memory)
//!     cargo run --release --example mandelbrot -- worker    serves the broker of PHALANX_URL

use std::{error::Error, fs::File, io::BufWriter, process::ExitCode, time::Instant};

use phalanx::prelude::*;

/// The part of the plane to render, and at which resolution.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct View {
    /// Centre of the picture.
    x: f64,
    y: f64,
    /// Width of the picture in the plane.
    span: f64,
    width: u32,
    height: u32,
    /// Points that have not escaped after this many iterations count as inside the set.
    limit: u32,
}

/// Part of the "seahorse valley".
const SEAHORSES: View =
    View { x: -0.743_643, y: 0.131_825, span: 0.006, width: 1600, height: 1000, limit: 1000 };

/// Each pixel is the mean of `SAMPLES` × `SAMPLES` samples.
const SAMPLES: u32 = 2;

/// Red, green and blue as linear light, each from 0 to 1.
type Light = [f64; 3];

/// Renders one row: three bytes for each pixel. Some rows cost far more than others; the leader
/// adapts its batches to that.
#[operation]
fn render_row(#[state] view: View, row: u32) -> Vec<u8> {
    let samples = f64::from(SAMPLES * SAMPLES);
    (0..view.width)
        .flat_map(|column| light_at(view, column, row).map(|sum| to_byte(sum / samples)))
        .collect()
}

/// The sum of the samples of one pixel.
fn light_at(view: View, column: u32, row: u32) -> Light {
    let scale = view.span / f64::from(view.width);
    let place = |pixel: u32, sample: u32, pixels: u32| {
        let shift = (f64::from(sample) + 0.5) / f64::from(SAMPLES);
        (f64::from(pixel) + shift - f64::from(pixels) / 2.0) * scale
    };
    let mut sum = Light::default();
    for sample in 0..SAMPLES * SAMPLES {
        let x = view.x + place(column, sample % SAMPLES, view.width);
        let y = view.y - place(row, sample / SAMPLES, view.height);
        if let Some(iterations) = iterations(x, y, view.limit) {
            let light = palette(iterations);
            sum = std::array::from_fn(|channel| sum[channel] + light[channel]);
        }
    }
    sum
}

/// Number of iterations until a point escapes, smoothed to a real number; `None` inside the set.
fn iterations(x: f64, y: f64, limit: u32) -> Option<f64> {
    let (mut a, mut b) = (0.0_f64, 0.0_f64);
    for n in 0..limit {
        let (a2, b2) = (a * a, b * b);
        if a2 + b2 > 256.0 {
            return Some(f64::from(n) + 2.0 - (a2 + b2).log2().log2());
        }
        b = 2.0 * a * b + y;
        a = a2 - b2 + x;
    }
    None
}

/// Cycles through six colours, more slowly as the number of iterations grows.
fn palette(iterations: f64) -> Light {
    const STOPS: [[u8; 3]; 6] =
        [[0, 7, 100], [32, 107, 203], [237, 255, 255], [255, 170, 0], [90, 20, 10], [0, 2, 20]];
    let turn = (iterations.max(1.0).ln() * 0.6).fract() * STOPS.len() as f64;
    let (from, to) = (turn as usize % STOPS.len(), (turn as usize + 1) % STOPS.len());
    let share = turn.fract().powi(2) * (3.0 - 2.0 * turn.fract());
    std::array::from_fn(|channel| {
        let (from, to) = (f64::from(STOPS[from][channel]), f64::from(STOPS[to][channel]));
        ((from + (to - from) * share) / 255.0).powi(2)
    })
}

fn to_byte(light: f64) -> u8 {
    (light.sqrt() * 255.0).round() as u8
}

async fn lead(path: &str) -> Result<(), Box<dyn Error>> {
    let view = SEAHORSES;
    // Create the file first: without it there is no point in rendering.
    let file = File::create(path).map_err(|error| format!("cannot write {path}: {error}"))?;
    let started = Instant::now();
    let runtime = Runtime::from_env().await?;
    let rows: Vec<Vec<u8>> =
        IndexedStream::from(0..view.height).map(RenderRow { view }).collect(&runtime).await?;
    runtime.close().await;
    println!("rendered {} × {} pixels in {:.2?}", view.width, view.height, started.elapsed());

    let mut encoder = png::Encoder::new(BufWriter::new(file), view.width, view.height);
    encoder.set_color(png::ColorType::Rgb);
    let mut picture = encoder.write_header()?;
    picture.write_image_data(&rows.concat())?;
    picture.finish()?;
    println!("wrote {path}");
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("worker") {
        return phalanx::worker::main().await;
    }
    match lead(argument.as_deref().unwrap_or("mandelbrot.png")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
