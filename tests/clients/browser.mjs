// One visitor in a headless Chromium, with the library named first, whose gateway is at the address named second, on
// another port than the page's; the browser is at the path named third. Ends when everything sent has arrived.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const [library, gateway, executablePath] = process.argv.slice(2);
const bought = 12, deadline = Date.now() + 45_000;

async function bundled() {
  const pages = fileURLToPath(new URL("browser_pages.mjs", import.meta.url));
  const contents = `import { ${library} } from ${JSON.stringify(pages)}; window.shop = ${library}();`;
  const stdin = { contents, resolveDir: fileURLToPath(new URL(".", import.meta.url)) };
  const done = await build({ stdin, bundle: true, write: false, format: "iife", logLevel: "error" });
  return done.outputFiles[0].contents;
}

async function served(script) {
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html; charset=utf-8");
    response.end(isScript ? script : "<!doctype html><title>Shop</title><script src='/page.js'></script>");
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

// Asked of the gateway itself, since only what is stored has arrived.
async function arrived(segment) {
  while (Date.now() < deadline) {
    const asked = { text: segment, asOf: new Date(Date.now() + 3_600_000) };  // the cluster's clock may stand still
    const answer = await fetch(`${gateway}/v1/segments:count`, { method: "POST", body: JSON.stringify(asked) });
    if ((await answer.json()).count === "1") return;
    await new Promise((again) => setTimeout(again, 50));
  }
  throw new Error(`did not arrive: ${segment}`);
}

const server = await served(await bundled());
const url = `http://127.0.0.1:${server.address().port}/?gateway=${encodeURIComponent(gateway)}`;
const browser = await chromium.launch({ executablePath, headless: true });
try {
  const visitor = await browser.newContext();
  const page = await visitor.newPage();
  page.on("pageerror", (error) => console.error("in the page:", error));
  await page.goto(url);
  await page.evaluate(async (count) => {
    const shop = await window.shop;
    shop.track("Visited", {});
    shop.identify("u-1", { plan: "gold" });
    for (let number = 0; number < count; number++) {
      shop.track("Bought", { price: number + 0.25, count: number, name: `Ünï ☕ ${number}`, odd: number % 2 === 1 });
    }
  }, bought);
  await arrived(`count("Bought") >= ${bought} and did("Visited") and plan = "gold"`);
  // What is tracked last is on its way, or waits in the library, when the page goes.
  await page.evaluate(async () => (await window.shop).track("Left", {}));
  const closed = page.waitForEvent("close");
  await page.close({ runBeforeUnload: true });
  await closed;
  const later = await visitor.newPage();
  await later.goto(url);
  await later.evaluate(async () => (await window.shop).track("Returned", {}));
  await arrived('did("Left") and did("Returned")');
} finally {
  await browser.close();
  server.close();
}
