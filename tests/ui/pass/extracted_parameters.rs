use std::convert::Infallible;

use evertask::{Context, FromContext, State};

struct Tenant(String);

impl FromContext for Tenant {
    type Error = Infallible;

    async fn from_context(ctx: &Context) -> Result<Self, Infallible> {
        Ok(Self(ctx.queue().to_owned()))
    }
}

type Mailer = State<String>;

// Neither order nor path matters, and what is not payload is not in it.
#[evertask::handler]
async fn send(
    ctx: evertask::Context,
    #[extract] tenant: Tenant,
    email: String,
    first: State<u32>,
    second: evertask::State<u64>,
    #[extract] mailer: Mailer,
    count: u32,
) {
    let _ = (ctx.id(), tenant.0, email, *first, *second, mailer.len(), count);
}

fn main() {
    assert_eq!(serde_json::to_string(&send::new("a", 1)).unwrap(), r#"{"email":"a","count":1}"#);
    // A plain call, as in a unit test.
    let _call = send(
        Context::test(),
        Tenant("t".into()),
        "a".into(),
        State::from(1),
        State::from(2),
        State::from("m".to_owned()),
        3,
    );
}
