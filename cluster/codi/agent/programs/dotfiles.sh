# Clones the repository $1 to ~/.dotfiles and runs its install script, or else links its dotfiles. What it
# prints is the user's log. Nothing here asks: nobody would answer.
place=$HOME/.dotfiles
if [ -e "$place" ] || [ -L "$place" ]; then
  echo "$place is there already: nothing is done"
  exit 0
fi
: "${GIT_SSH_COMMAND:=ssh -o BatchMode=yes}"
export GIT_SSH_COMMAND
echo "cloning $1 to $place"
if ! git clone --quiet -- "$1" "$place"; then
  echo "it could not be cloned: nothing is installed"
  exit 1
fi
cd "$place" || exit
for script in install.sh install bootstrap.sh bootstrap script/bootstrap setup.sh setup script/setup; do
  [ -f "$script" ] || continue
  echo "running $script"
  if [ -x "$script" ]; then "./$script"; else sh "./$script"; fi
  code=$?
  echo "$script ended with $code"
  exit "$code"
done
for file in .[!.]*; do
  case $file in .git | .gitignore | .gitmodules | .gitattributes | .github) continue ;; esac
  [ -e "$file" ] || [ -L "$file" ] || continue
  if [ -e "$HOME/$file" ] || [ -L "$HOME/$file" ]; then
    echo "left $HOME/$file as it is"
  elif ln -s ".dotfiles/$file" "$HOME/$file"; then
    echo "linked $HOME/$file"
  fi
done
echo "done"
