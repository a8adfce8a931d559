// Opens the page of a run in Chromium, as people do: with a mouse, a keyboard, on a phone, on paper and
// without scripts. RINGTRUE_PAGE names the file, RINGTRUE_CHROMIUM the browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const url = pathToFileURL(process.env.RINGTRUE_PAGE).href;
const PHONE = { width: 390, height: 844 };
const SCREEN = { width: 1280, height: 900 };
const LEAST_CONTRAST = 4.5;

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.RINGTRUE_CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
});

after(() => browser?.close());

// A test with the page open. Whatever the page complains of or fetches fails it.
const opened = (name, options, check) =>
  test(name, async () => {
    const context = await browser.newContext({ viewport: SCREEN, reducedMotion: "reduce", ...options });
    try {
      const page = await context.newPage();
      const complaints = [];
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("request", (request) => {
        if (request.url().split("#")[0] !== url) complaints.push(`fetches ${request.url()}`);
      });
      await page.goto(url);
      await check(page);
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
    }
  });

const panel = (page) => page.locator("#details");
const message = (page, kind) => page.locator(".arrow.t-signaling", { has: page.locator(`text="${kind}"`) }).first();

opened("the ladder has arrows, each with a name and a way to it by keyboard", {}, async (page) => {
  await page.getByRole("region", { name: "Ladder diagram" }).waitFor();
  const arrows = page.locator(".arrow");
  assert.ok((await arrows.count()) > 50);
  const nameless = await arrows.evaluateAll(
    (all) => all.filter((arrow) => !arrow.getAttribute("aria-label") || arrow.tabIndex !== 0).length,
  );
  assert.equal(nameless, 0);
});

opened("a click on a message opens the packet that carried it", {}, async (page) => {
  await message(page, "offer").click();
  await panel(page).waitFor({ state: "visible" });
  const text = await panel(page).innerText();
  assert.match(text, /offer from \w+ to signaling/);
  assert.match(text, /sent by \w+/);
  assert.match(text, /rewrote the source/);
  assert.match(text, /delivered to signaling/);
  assert.match(text, /#\d+/);
  assert.match(text, /^00 {2}([0-9a-f]{2} ){16}/m);
  await page.locator("#close").click();
  await panel(page).waitFor({ state: "hidden" });
});

opened("the keyboard goes to an arrow, opens it, goes on and comes back", {}, async (page) => {
  const focused = () => page.evaluate(() => document.activeElement.id);
  await page.locator(".ladder-box").focus();
  await page.keyboard.press("Tab");
  const first = await focused();
  assert.match(first, /^event-\d+$/);
  await page.keyboard.press("Tab");
  const second = await focused();
  assert.notEqual(second, first);
  const outline = await page.locator(`#${second} .hit`).evaluate((hit) => getComputedStyle(hit).stroke);
  assert.notEqual(outline, "none");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), first);
  await page.keyboard.press("Enter");
  await panel(page).waitFor({ state: "visible" });
  assert.equal(await focused(), "details-title");
  await page.keyboard.press("Escape");
  await panel(page).waitFor({ state: "hidden" });
  assert.equal(await focused(), first);
  await message(page, "answer").focus();
  await page.keyboard.press("Enter");
  assert.match(await panel(page).innerText(), /answer from \w+ to signaling/);
});

opened("a row of the timeline leads to its place on the ladder", {}, async (page) => {
  const link = page.locator(".timeline tr", { hasText: "call answered" }).first().locator("a");
  const target = (await link.getAttribute("href")).slice(1);
  await link.click();
  const seen = await page.locator(`#${target}`).evaluate((element) => {
    const place = element.getBoundingClientRect();
    const box = element.closest(".ladder-box").getBoundingClientRect();
    return place.top >= box.top && place.bottom <= box.bottom && place.top >= 0 && place.top <= innerHeight;
  });
  assert.ok(seen);
});

opened("a link to an event opens the arrow that its packet is in", {}, async (page) => {
  await message(page, "offer").click();
  const index = (await panel(page).innerText()).match(/event #(\d+)/)[1];
  await page.goto("about:blank");
  await page.goto(`${url}#event-${index}`);
  await panel(page).waitFor({ state: "visible" });
  assert.match(await panel(page).innerText(), new RegExp(`#${index}\\b`));
});

const FILTERS = {
  signaling: ".arrow.t-signaling", checks: ".arrow.t-checks", turn: ".arrow.t-turn", dtls: ".arrow.t-dtls",
  media: ".arrow.t-media", drops: ".arrow.dropped", faults: ".mark", notes: ".note",
};

const filtersWork = async (page) => {
  const shown = (selector) =>
    page.locator(selector).evaluateAll((all) => all.filter((it) => it.getClientRects().length > 0).length);
  for (const [name, selector] of Object.entries(FILTERS)) {
    const before = await shown(selector);
    assert.ok(before > 0, `${selector} is on the ladder`);
    await page.locator(`#show-${name}`).uncheck();
    assert.equal(await shown(selector), 0, `${selector} is hidden`);
    await page.locator(`#show-${name}`).check();
    assert.equal(await shown(selector), before, `${selector} is back`);
  }
};

opened("each filter hides its arrows and shows them again", {}, filtersWork);

opened("the ladder and its filters need no script", { javaScriptEnabled: false }, async (page) => {
  await page.locator(".ladder-box").waitFor({ state: "visible" });
  await page.locator("#show-checks").uncheck();
  await page.locator(".arrow.t-checks").first().waitFor({ state: "hidden" });
});

opened("a command is copied, or selected where the clipboard is refused", {}, async (page) => {
  await page.locator("[data-copy=command]").click();
  await page.locator("#said", { hasText: /Copied|Selected/ }).waitFor({ state: "attached" });
});

// What is wider than the page, or scrolls sideways, outside of the ladder.
const tooWide = (page) =>
  page.evaluate(() => {
    const wide = [];
    for (const element of document.querySelectorAll("body *")) {
      if (element.closest(".ladder-box") && !element.matches(".ladder-box")) continue;
      if (element.closest(".unseen, .skip, thead") || element.getClientRects().length === 0) continue;
      const style = getComputedStyle(element);
      const scrolls = element.scrollWidth > element.clientWidth + 1 && ["auto", "scroll"].includes(style.overflowX);
      const leaves = element.getBoundingClientRect().right > innerWidth + 0.5;
      if ((scrolls && !element.matches(".ladder-box")) || leaves) wide.push(`${element.tagName}.${element.className}`);
    }
    const document_ = document.documentElement;
    if (document_.scrollWidth > innerWidth) wide.push(`the page: ${document_.scrollWidth}`);
    return wide;
  });

opened("on a phone nothing but the ladder goes sideways", { viewport: PHONE }, async (page) => {
  await page.locator("details").evaluateAll((all) => all.forEach((it) => (it.open = true)));
  assert.deepEqual(await tooWide(page), []);
  const box = page.locator(".ladder-box");
  assert.ok(await box.evaluate((it) => it.scrollWidth > it.clientWidth));
  await message(page, "offer").click();
  await panel(page).waitFor({ state: "visible" });
  assert.deepEqual(await tooWide(page), []);
});

opened("on paper the whole ladder is there, and nothing to press", {}, async (page) => {
  await page.emulateMedia({ media: "print" });
  for (const selector of ["nav", ".filters", "button"]) {
    assert.ok(!(await page.locator(selector).first().isVisible()), selector);
  }
  const cut = await page.locator(".ladder-box").evaluate((box) => box.scrollHeight - box.clientHeight);
  assert.ok(cut <= 1, `${cut} px are cut`);
  const paper = (await page.pdf({ format: "A4" })).toString("latin1");
  assert.ok(paper.startsWith("%PDF"));
  await page.setViewportSize({ width: 700, height: 1000 });
  const width = await page.locator(".ladder-box").evaluate((box) => box.scrollWidth);
  assert.ok(width <= 700, `${width} px do not fit the paper`);
});

// The texts whose colour is too near to what is behind them.
const tooFaint = (page, least) =>
  page.evaluate((least) => {
    const parse = (text) => {
      const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
      return { r, g, b, a };
    };
    const over = (top, under) => ({
      r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
      b: top.b * top.a + under.b * (1 - top.a), a: 1,
    });
    const behind = (element) => {
      if (!element) return { r: 255, g: 255, b: 255, a: 1 };
      const own = parse(getComputedStyle(element).backgroundColor);
      return own.a === 1 ? own : over(own, behind(element.parentElement));
    };
    const light = ({ r, g, b }) => {
      const [x, y, z] = [r, g, b].map((value) => {
        const share = value / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const faint = new Set();
    for (const element of document.querySelectorAll("body *")) {
      const isText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!isText || element.getClientRects().length === 0 || element.closest("script, style, title, .skip")) continue;
      const style = getComputedStyle(element);
      const text = parse(element instanceof SVGElement ? style.fill : style.color);
      const [one, other] = [light(text), light(behind(element))].sort((x, y) => y - x);
      const contrast = (one + 0.05) / (other + 0.05);
      if (contrast < least) faint.add(`${element.tagName}.${element.getAttribute("class")} ${contrast.toFixed(2)}`);
    }
    return [...faint];
  }, least);

for (const colorScheme of ["light", "dark"]) {
  opened(`texts can be read in ${colorScheme} colours`, { colorScheme }, async (page) => {
    await page.locator("details").evaluateAll((all) => all.forEach((it) => (it.open = true)));
    await message(page, "offer").click();
    assert.deepEqual(await tooFaint(page, LEAST_CONTRAST), []);
  });
}
