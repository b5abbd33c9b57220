in vec3 vPosition; in vec3 vNormal; in vec3 vRest; in vec3 vRestNormal; in vec3 vPlace; in vec4 vLight; in vec3 vCoarse;
uniform int who;
uniform vec4 top;      // hem, sleeve, collar, open front
uniform vec4 range;    // this layer: lowest z, highest z, largest arm, largest leg
uniform vec4 cover;    // skin hidden by the top: hem, sleeve, collar; by the trousers: leg length

uniform float waist;
uniform vec3 tint; uniform vec3 skin; uniform vec3 lip; uniform vec3 iris; uniform vec3 brow; uniform vec4 beard;  // rgb, amount
uniform vec3 sun; uniform vec3 sunColor; uniform vec3 skyColor; uniform vec3 groundColor; uniform vec3 up;
uniform float wrinkle; uniform float gloss; uniform float scale; uniform float browWidth;
uniform sampler2D noise; uniform sampler2D pattern; uniform sampler2DShadow shadow;
uniform vec4 hairline;  // height in front, at the temples and in the nape; lower end of long hair
float limit(vec3 rest) {
    float y = rest.y;
    return y < -0.075 ? hairline.x : (y < -0.045 ? mix(hairline.y, hairline.x, (-0.045 - y) / 0.03) :
           (y < -0.02 ? hairline.y : mix(hairline.y, hairline.z, smoothstep(-0.02, 0.0, y))));
}
layout(location = 0) out vec4 color; layout(location = 1) out vec2 about;

vec4 tri(sampler2D image, float f) {
    float w = smoothstep(0.35, 0.75, abs(vRestNormal.x));
    return mix(texture(image, vRest.xz * f), texture(image, vRest.yz * f + 0.37), w);
}
float lit(vec3 n) {
    vec3 s = vLight.xyz * 0.5 + 0.5;
    float bias = 0.008 + 0.01 * (1.0 - max(dot(n, sun), 0.0));
    return texture(shadow, vec3(s.xy, s.z - bias));
}
void main() {
    vec3 n = normalize(vNormal), view = normalize(-vPosition);
    vec4 fine = texture(noise, vec2(vRest.x + vRest.y * 0.8, vRest.z) * 6.0); vec3 coarse = vCoarse;
    float edge = (coarse.r - 0.5) * 0.04 + (fine.r - 0.5) * 0.01;
    float arm = vPlace.x, leg = vPlace.y;
    if (kind == 1 || kind == 3) {
        float z = vRest.z + edge * 0.5;
        if (z < range.x || z > range.y || arm > range.z + edge || leg > range.w + edge) discard;
        if (range.w < 1.5 && arm > -0.5) discard;  // trousers and skirts are not for arms
        if (kind == 1 && top.w > 0.0 && vRest.y < 0.0 && abs(vRest.x) < top.w * (1.2 - vRest.z) && arm < 0.0) discard;
        if (kind == 1 && vRest.z > 0.42 && arm < 0.0) {  // collar: lower in front
            float c = top.z - (vRest.y < -0.03 ? top.y * smoothstep(0.13, 0.02, abs(vRest.x)) : 0.0);
            if (z > c) discard;
        }
    }
    vec3 albedo = tint; float spec = gloss, wrap = 0.0, rough = 24.0;
    if (kind == 0) {
        bool trunk = arm < -0.5 && leg < 0.12;
        if (trunk && vRest.z < cover.z - 0.03 && vRest.z > cover.x + 0.03 && cover.y > -0.5) discard;
        if (arm > -0.5 && arm < cover.y - 0.04) discard;
        if ((leg > -0.5 || trunk) && vRest.z < waist - 0.03 && leg < cover.w - 0.04 && arm < -0.5) discard;
        albedo = skin * (0.86 + 0.28 * coarse.r) * (0.93 + 0.14 * fine.a);
        vec3 e = vRest - vec3(sign(vRest.x) * 0.030, -0.107, 0.649);
        float face = smoothstep(-0.05, -0.10, vRest.y) * step(0.52, vRest.z);
        albedo = mix(albedo, albedo * vec3(1.12, 0.86, 0.82), face * smoothstep(0.03, 0.0, length(vRest - vec3(sign(vRest.x) * 0.045, -0.105, 0.615))));
        albedo = mix(albedo, lip, vPlace.z * 0.8);
        float arch = (abs(vRest.x) - 0.036) / 0.024;
        float over = abs(vRest.z - (0.6725 - 0.006 * arch * arch)) / (browWidth * (1.0 - 0.45 * arch));
        albedo = mix(albedo, brow, face * step(0.0, -vRest.y - 0.08) * smoothstep(1.2, 0.6, over) * smoothstep(1.15, 0.9, abs(arch)) * (0.5 + 0.6 * fine.a));
        float chin = face * smoothstep(0.625, 0.59, vRest.z) + smoothstep(-0.02, -0.05, vRest.y) * smoothstep(0.635, 0.57, vRest.z) * step(0.535, vRest.z);
        albedo = mix(albedo, beard.rgb * (0.6 + 0.8 * fine.a), clamp(chin, 0.0, 1.0) * beard.a * (1.0 - vPlace.z));
        spec = 0.12; wrap = 0.25; rough = 14.0;
    }
    if (kind == 5) { albedo = mix(brow, skin, 0.35); spec = 0.0; }  // lashes
    if (kind == 4) {  // eyeball
        vec3 d = normalize(vRest - vec3(sign(vRest.x) * 0.030, -0.107, 0.649));
        float angle = acos(clamp(-d.y, -1.0, 1.0));
        albedo = mix(vec3(0.62, 0.58, 0.55), iris, smoothstep(0.48, 0.40, angle));
        albedo = mix(albedo, vec3(0.01), smoothstep(0.22, 0.17, angle));
        spec = 0.7; rough = 60.0;
    }
    if (kind == 1 || kind == 3) {
        albedo = kind == 1 ? pow(tri(pattern, scale).rgb, vec3(2.2)) : tint;
        albedo *= 0.9 + 0.2 * fine.r;
        vec2 g = (coarse.gb - 0.5) * 1.6 + (fine.gb - 0.5) * 0.5;
        vec3 side = normalize(cross(n, vec3(0.0, 1.0, 0.0) + 0.01 * n.zxy));
        n = normalize(n + wrinkle * (g.x * side + g.y * cross(side, n)));
    }
    if (kind == 2) {
        float z = vRest.z + edge * 0.4;
        if (hairline.w < 0.0 && (z < limit(vRest) || (vRest.y > -0.05 && vRest.y < -0.012 && abs(vRest.x) > 0.073 && z < 0.66))) discard;
        if (hairline.w > 0.0 && vRest.z < hairline.w + edge) discard;
        vec4 strand = texture(noise, vec2(atan(vRest.x, vRest.y + 0.03) * 2.5, vRest.z * 1.5));
        albedo = tint * (0.55 + 0.9 * strand.a) * (0.8 + 0.4 * coarse.r);
        n = normalize(n + 0.5 * (strand.g - 0.5) + 0.5 * (fine.g - 0.5));
        spec = gloss; rough = 10.0;
    }
    float facing = dot(n, view);
    if (!gl_FrontFacing) { n = -n; if (kind == 0 || kind == 4) discard; }
    float direct = max((dot(n, sun) + wrap) / (1.0 + wrap), 0.0) * lit(n);
    float sky = 0.5 + 0.5 * dot(n, up);
    float close = 0.75 + 0.25 * clamp(facing, 0.0, 1.0);
    vec3 ambient = mix(groundColor, skyColor, sky) * close;
    vec3 result = albedo * (sunColor * direct + ambient);
    vec3 h = normalize(sun + view);
    result += sunColor * spec * pow(max(dot(n, h), 0.0), rough) * step(0.01, direct) * 0.5;
    result += spec * 0.25 * skyColor * pow(1.0 - clamp(facing, 0.0, 1.0), 4.0);
    color = vec4(pow(clamp(result, 0.0, 1.0), vec3(1.0 / 2.2)), 1.0);
    about = vec2(vPosition.z, float(who));
}
