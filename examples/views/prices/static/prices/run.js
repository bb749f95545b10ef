"use strict";

/* Shows the events of one run in a section of the page, wherever they come from. */
class RunView {
  constructor(section) {
    this.section = section;
    this.place = "";
    this.over = false;
    this.find = (name) => section.querySelector(name);
  }

  show(event) {
    this.section.hidden = false;
    if (event.id) this.place = event.id;
    this.connection("");
    const handler = this[event.event];
    if (handler) handler.call(this, event);
  }

  connection(text) { this.find(".connection").textContent = text; }

  started() { this.find(".status").textContent = "running"; }

  progress(event) {
    const settled = event.done + event.skipped + event.dead;
    this.find(".counts").textContent = `${event.done} of ${event.total ?? "?"} done, ${event.dead} dead ${event.stage}`;
    if (event.total) this.find("progress").value = settled / event.total;
  }

  log(event) { this.line(event.message, ""); }

  item_failed(event) {
    const what = event.final ? "dead" : "again";
    this.line(`${what}: ${event.label}: ${event.kind}: ${event.error}`, event.final ? "failed" : "again");
  }

  left_out(event) { this.line(`${event.count} lines left out`, "left-out"); }

  finished(event) {
    this.over = true;
    this.find(".status").textContent = event.status;
    if (event.error) this.line(event.error, "failed");
  }

  line(text, kind) {
    const item = document.createElement("li");
    item.textContent = text;
    item.className = kind;
    this.find(".log").append(item);
    item.scrollIntoView({block: "nearest"});
  }
}

const NAMES = ["started", "progress", "item_failed", "log", "left_out", "finished"];
const AGAIN = 3000;

/* The browser comes back by itself, with the id of the last event, when the connection breaks; only where the server
   answered with an error does the page have to. */
function watch(view, url) {
  const source = new EventSource(view.place ? `${url}?after=${encodeURIComponent(view.place)}` : url);
  for (const name of NAMES) {
    source.addEventListener(name, (message) => {
      view.show(JSON.parse(message.data));
      if (view.over) source.close();
    });
  }
  source.addEventListener("error", () => {
    if (view.over) return;
    view.connection("connection lost, coming back …");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => watch(view, url), AGAIN);
  });
}

/* Where the server cannot keep a response open: ask again and again. */
async function poll(view, url) {
  while (!view.over) {
    try {
      const answer = await fetch(`${url}?after=${encodeURIComponent(view.place)}`);
      for (const event of (await answer.json()).events) view.show(event);
    } catch (error) {
      view.connection("connection lost, coming back …");
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/* A run that belongs to this very request: EventSource can only GET, and would begin another one when it comes back. */
async function live(view, form, button) {
  const leaving = new AbortController();
  window.addEventListener("pagehide", () => leaving.abort());  // a page that may come back by "back" keeps it open
  const answer = await fetch(button.formAction, {method: "POST", body: new FormData(form), signal: leaving.signal});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) break;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").find((line) => line.startsWith("data: "));
      if (data) view.show(JSON.parse(data.slice(6)));
    }
  }
  if (!view.over) view.connection("connection lost: the run is stopped");
}

const section = document.querySelector(".run");
const view = new RunView(section);
if (section.dataset.events) watch(view, section.dataset.events);
else if (section.dataset.news) poll(view, section.dataset.news);

const button = document.querySelector("[data-live]");
if (button) {
  button.disabled = false;
  button.addEventListener("click", (click) => {
    click.preventDefault();
    button.disabled = true;
    live(view, button.form, button).finally(() => { button.disabled = false; });
  });
}

document.querySelector("[data-stop]")?.addEventListener("submit", (submit) => {
  submit.preventDefault();
  fetch(submit.target.action, {method: "POST", body: new FormData(submit.target)});
});
