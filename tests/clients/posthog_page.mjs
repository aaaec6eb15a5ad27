// posthog-js as it comes, with just enough of a browser around it: a visitor looks, is identified, buys and leaves.
import { createRequire } from "node:module";

const [, , host, mode] = process.argv;
const nothing = () => {};
const storage = () => {
  const kept = new Map();
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, String(value)),
    removeItem: (key) => void kept.delete(key),
    key: (index) => [...kept.keys()][index],
    get length() { return kept.size; },
  };
};
const element = () => ({
  style: {}, setAttribute: nothing, appendChild: nothing, addEventListener: nothing, removeEventListener: nothing,
  parentNode: { insertBefore: nothing },
});
const sent = [];
const page = {
  href: "http://shop.test/", host: "shop.test", hostname: "shop.test", pathname: "/", search: "", hash: "",
  protocol: "http:", origin: "http://shop.test",
};
Object.assign(globalThis, {
  window: globalThis, self: globalThis, location: page, addEventListener: nothing, removeEventListener: nothing,
  localStorage: storage(), sessionStorage: storage(), screen: { width: 1, height: 1 },
  document: {
    cookie: "", referrer: "", title: "Shop", readyState: "complete", visibilityState: "visible", location: page, URL: page.href,
    createElement: element, querySelector: () => null, querySelectorAll: () => [], getElementsByTagName: () => [element()],
    addEventListener: nothing, removeEventListener: nothing, body: element(), head: element(), documentElement: element(),
  },
});
const sendBeacon = (url, body) => void sent.push(fetch(url, { method: "POST", body, headers: { "Content-Type": body.type } })) ?? true;
Object.defineProperty(globalThis, "navigator", {
  value: { userAgent: "Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36", language: "en", vendor: "Google Inc.", onLine: true, sendBeacon },
});

const loaded = createRequire(import.meta.url)("posthog-js");
const client = loaded.default ?? loaded;
client.init("web", {
  api_host: host, autocapture: false, capture_pageview: false, disable_session_recording: true, opt_out_useragent_filter: true,
  request_batching: false, advanced_disable_flags: true, disable_compression: mode === "plain",
});
client.capture("Seen", { n: 1 });
client.identify("u-1", { plan: "gold" });
client.capture("Bought", { price: 2.5 });
client.capture("Left", { name: "Ünï ☕" }, { transport: "sendBeacon" });
await new Promise((done) => setTimeout(done, 1000));
for (const answer of await Promise.all(sent)) if (answer.status !== 200) process.exit(1);
process.exit(0);
