use evertask::schedule::{Mon, every, every_day, every_week};

fn main() {
    let _ = every(5).minutes().at("09:00");
    let _ = every_day().on(Mon);
    let _ = every_day().at("09:00").at("10:00");
    let _ = every_week().on_day(31);
    let _ = every(5).build();
    let _ = every(5).minutes().tz("Europe/Rome");
}
