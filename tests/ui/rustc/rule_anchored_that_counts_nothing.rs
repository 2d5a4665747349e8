use std::time::UNIX_EPOCH;

use evertask::schedule::{Fri, every_day, every_hour, every_minute, every_week};

fn main() {
    let _ = every_minute().anchored(UNIX_EPOCH).at_second(30);
    let _ = every_hour().anchored(UNIX_EPOCH);
    let _ = every_day().anchored(UNIX_EPOCH);
    let _ = every_week().anchored(UNIX_EPOCH).on(Fri);
}
