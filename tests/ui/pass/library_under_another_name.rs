use evertask as background;

mod outer {
    pub mod inner {
        pub use evertask as renamed;
    }
}

#[background::handler(crate = outer::inner::renamed)]
async fn send(email: String) {
    drop(email);
}

#[background::handler(crate = crate::outer::inner::renamed)]
async fn store(email: String) {
    drop(email);
}

mod evertask_is_not_here {
    // A module of that name beside the handler takes nothing over: generated paths begin at the crates.
    #[allow(unused)]
    mod evertask {}

    #[::evertask::handler]
    async fn keep(email: String) {
        drop(email);
    }
}

fn main() {
    let _ = (send::new("ada@example.com"), store::new("ada@example.com"));
}
