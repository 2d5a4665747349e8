#[evertask::handler]
async fn none() {}

#[evertask::handler]
async fn nine(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: String) -> u32 {
    drop(i);
    [a, b, c, d, e, f, g, h].into_iter().map(u32::from).sum()
}

fn main() {
    assert_eq!(serde_json::to_string(&none::new()).unwrap(), "{}");
    let none {} = serde_json::from_str("{}").unwrap();
    assert_eq!(nine::new(1, 2, 3, 4, 5, 6, 7, 8, "nine").i, "nine");
}
