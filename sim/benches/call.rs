//! `cargo bench -p ringtrue-sim` measures what `ringtrue bench` does.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use ringtrue_sim::bench::{BenchError, Scale, measure};

fn main() -> Result<(), BenchError> {
    println!("{}", measure(Scale::Standard, || {})?);
    Ok(())
}
