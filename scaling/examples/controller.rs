//! The controller behind a pipe, as the evaluator wants it.

use std::io;

fn main() -> io::Result<()> {
    bravo_scaling::serve(bravo_scaling::Settings::default(), io::stdin().lock(), io::stdout().lock())
}
