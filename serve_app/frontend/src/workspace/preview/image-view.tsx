import { useState } from "preact/hooks";
import { formatBytes } from "../../lib/format";

interface ImageViewProps {
  url: string;
  name: string;
  size: number;
  onBroken: () => void;
}

/** An image, as large as the pane lets it or as it is. */
export function ImageView({ url, name, size, onBroken }: ImageViewProps) {
  const [natural, setNatural] = useState<string | null>(null);
  const [whole, setWhole] = useState(true);
  return (
    <>
      <div class={`preview-scroll preview-image ${whole ? "whole" : ""}`} tabIndex={0} role="group" aria-label="Image">
        <img
          src={url}
          alt={name}
          draggable={false}
          onLoad={({ currentTarget: image }) => {
            const { naturalWidth: width, naturalHeight: height } = image;
            setNatural(width > 0 ? `${width} × ${height}` : null);
          }}
          onError={onBroken}
        />
      </div>
      <div class="preview-note">
        <span>{[natural, formatBytes(size)].filter(Boolean).join(" · ")}</span>
        <span class="status-gap" />
        <button type="button" class="button small" aria-pressed={!whole} onClick={() => setWhole(!whole)}>
          {whole ? "Actual size" : "Fit to the pane"}
        </button>
      </div>
    </>
  );
}
