in vec3 position; in vec3 normal; in vec3 rest; in vec3 restNormal; in vec3 place;  // along arm and leg, lips
uniform mat4 projection; uniform mat4 light; uniform mat3 head;
uniform float offset; uniform float puff; uniform vec3 hair;  // thickness, length, width
uniform sampler2D noise;
uniform vec4 hairline;  // height in front, at the temples and in the nape; lower end of long hair
float limit(vec3 rest) {
    float y = rest.y;
    return y < -0.075 ? hairline.x : (y < -0.045 ? mix(hairline.y, hairline.x, (-0.045 - y) / 0.03) :
           (y < -0.02 ? hairline.y : mix(hairline.y, hairline.z, smoothstep(-0.02, 0.0, y))));
}
out vec3 vPosition; out vec3 vNormal; out vec3 vRest; out vec3 vRestNormal; out vec3 vPlace; out vec4 vLight; out vec3 vCoarse;
void main() {
    vec3 p = position;
    float bump = textureLod(noise, rest.xz * 1.7 + rest.y, 0.0).r - 0.5;
    p += normal * offset * (1.0 + puff * bump * 2.0);
    if (kind == 2) {
        vec3 from = rest - vec3(0.0, -0.03, 0.66);
        float low = smoothstep(0.68, 0.58, rest.z) * smoothstep(-0.06, 0.02, rest.y);
        float root = rest.z - limit(rest);
        vec3 d = normalize(from) * hair.x * (0.75 + bump) * smoothstep(-0.005, 0.035, root);
        d += vec3(hair.z * from.x, 0.02 * hair.y, -hair.y) * low;
        p += head * d;
    }
    vPosition = p; vNormal = normal; vRest = rest; vRestNormal = restNormal; vPlace = place;
    vCoarse = textureLod(noise, vec2(rest.x + rest.y * 0.8, rest.z) * 1.3, 1.0).rgb;
    vLight = light * vec4(p, 1.0);
    gl_Position = projection * vec4(p, 1.0);
}
