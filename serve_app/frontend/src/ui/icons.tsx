/** Line icons on a 16-unit grid, in the text's colour. Decoration: the control beside them is named. */

const PATHS = {
  plus: "M8 3.5v9M3.5 8h9",
  close: "m4.5 4.5 7 7m0-7-7 7",
  chevron: "m6 4 4 4-4 4",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  folder: "M2 4.5v8h12v-7H8L6.5 4H2z",
  link: "M6.5 9.5 9.5 6.5M7 4.5l1-1a3 3 0 0 1 4.5 4.5l-1 1m-7-1-1 1a3 3 0 0 0 4.5 4.5l1-1",
  refresh: "M12.8 6.2A5.2 5.2 0 1 0 13 9.5M13 3v3.5H9.5",
  upload: "M8 10.5V3m0 0L5 6m3-3 3 3M3 12.5h10",
  download: "M8 3v7.5m0 0L5 7.5m3 3 3-3M3 13h10",
  save: "M3 3h8l2 2v8H3zM5.5 3v3.5h4V3M5 13V9.5h6V13",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9",
  moon: "M13 9.6A5.5 5.5 0 0 1 6.4 3 5.5 5.5 0 1 0 13 9.6",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  history: "M2.5 8A5.5 5.5 0 1 0 4 4.2M2.5 2.5v3h3M8 5v3.2l2 1.6",
  help: "M6 6.2a2 2 0 1 1 3 1.7c-.7.4-1 .8-1 1.6M8 11.8h.01M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8",
  search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4m3.1 7.3 3.1 3.1",
  compare: "M8 2.5v11M2.5 5.5H5M2.5 8H5M2.5 10.5H5M11 5.5h2.5M11 8h2.5M11 10.5h2.5",
  edit: "M3 13l.7-2.8L10.5 3.4l2.1 2.1-6.8 6.8zM9.2 4.7l2.1 2.1",
  eye: "M1.8 8S4 3.8 8 3.8 14.2 8 14.2 8 12 12.2 8 12.2 1.8 8 1.8 8M8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6",
  up: "m4 10 4-4 4 4",
  down: "m4 6 4 4 4-4",
  rows: "M2.5 3h11v10h-11zM2.5 8h11",
  columns: "M2.5 3h11v10h-11zM8 3v10",
  terminal: "m3.5 5 3 3-3 3M8.5 11.5h4",
  ports: "M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8M1.8 8h12.4M8 1.8c2.2 2 2.6 4 2.6 6.2S10.2 12.2 8 14.2M8 1.8C5.8 3.8 5.4 5.8 5.4 8S5.8 12.2 8 14.2",
  apps: "M3 3h4v4H3zM9 3h4v4H9zM3 9h4v4H3zM11 9v4M9 11h4",
  user: "M8 8a2.6 2.6 0 1 0 0-5.2A2.6 2.6 0 0 0 8 8m-5 5.5a5 5 0 0 1 10 0",
  newFile: "M4 2.5h5l3 3v8H4zM8 7v4M6 9h4",
  newFolder: "M2 4.5v8h12v-7H8L6.5 4H2zM8 7.3v3.4M6.3 9h3.4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
