//! An error may be a reference, also behind an alias whose only parameter it is.

type Fallible<E> = Result<(), E>;

#[evertask::handler]
async fn fails() -> Fallible<&'static str> {
    Err("no")
}

#[evertask::handler]
async fn fails_too() -> Result<u8, &'static str> {
    Err("no")
}

fn main() {}
