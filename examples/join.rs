//! Joins two small tables: cities with the countries that they are in, and adds their inhabitants up.
//!
//!     cargo run --release --example join               runs on PHALANX_URL (default: in memory)
//!     cargo run --release --example join -- worker     serves the broker of PHALANX_URL

use std::process::ExitCode;

use phalanx::prelude::*;

const COUNTRIES: &str = include_str!("data/countries.csv");
const CITIES: &str = include_str!("data/cities.csv");

/// The code of a country, and its name.
#[operation]
fn country(line: &str) -> Result<(String, String)> {
    let Some((code, name)) = line.split_once(',') else { phalanx::bail!("no country: {line}") };
    Ok((code.to_owned(), name.to_owned()))
}

/// The code of the country of a city, and the number of its inhabitants.
#[operation]
fn city(line: &str) -> Result<(String, u64)> {
    let fields: Vec<&str> = line.split(',').collect();
    let [code, _name, population] = fields[..] else { phalanx::bail!("no city: {line}") };
    Ok((code.to_owned(), population.parse()?))
}

#[operation]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// The lines of a table without its heading.
fn lines(table: &'static str) -> IndexedStream<String> {
    IndexedStream::from(table.lines().skip(1).map(String::from))
}

async fn lead() -> Result<(), phalanx::Error> {
    let runtime = Runtime::from_env().await?;
    let countries = lines(COUNTRIES).map(Country);
    let inhabitants = lines(CITIES).map(City).reduce_by_key(Add);
    // `left_join` would keep the countries without a city here.
    let joined = countries.join(inhabitants).values();
    println!("{}", joined.explain()?);

    let mut rows = joined.collect(&runtime).await?;
    runtime.close().await;
    rows.sort_by_key(|(_, inhabitants)| std::cmp::Reverse(*inhabitants));
    for (country, inhabitants) in rows {
        println!("{inhabitants:>12}  {country}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "worker") {
        return phalanx::worker::main().await;
    }
    match lead().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}
