//! Prints the name of each handler the linker kept, one a line.

evertask::link!(evertask_linked);

/// Its own, so that the slice is not empty whatever happens to the others.
#[evertask::handler(name = "main.own")]
async fn own() {}

fn main() {
    let mut names: Vec<_> = evertask::__private::HANDLERS
        .iter()
        .filter_map(|registration| registration.0.as_ref())
        .map(|handler| handler.options().name)
        .collect();
    names.sort_unstable();
    for name in names {
        println!("{name}");
    }
}
